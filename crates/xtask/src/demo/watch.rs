//! Looks at a service until it is available, and tells what changes meanwhile.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::demo::groma::Groma;

/// How often the service is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a service is available, with nothing of it at `not_at`.
pub(crate) fn until_available(groma: &Groma, name: &str, not_at: Option<&str>) -> Result<Value> {
    let begun = Instant::now();
    let mut told = BTreeSet::new();
    loop {
        let service: Value =
            serde_json::from_str(&groma.read(&["get", "service", name, "--output", "json"])?)?;
        for news in news(&service) {
            if told.insert(news.clone()) {
                println!("    {:6.2} s  {news}", begun.elapsed().as_secs_f64());
            }
        }
        if is_available(&service) && not_at.is_none_or(|site| !runs_at(&service, site)) {
            return Ok(service);
        }
        if begun.elapsed() > PATIENCE {
            groma.client(&["describe", "service", name])?;
            bail!(
                "service {name} was not available within {} s",
                PATIENCE.as_secs()
            );
        }
        sleep(LOOK);
    }
}

fn news(service: &Value) -> Vec<String> {
    let components = service["status"]["components"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut news = Vec::new();
    for component in &components {
        let name = component["name"].as_str().unwrap_or_default();
        let sites: Vec<_> = component["sites"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !sites.is_empty() {
            news.push(format!("{name} is placed at {}", sites.join(", ")));
            if component["available"] == true {
                news.push(format!("{name} is available at {}", sites.join(", ")));
            }
        }
    }
    news
}

fn is_available(service: &Value) -> bool {
    let conditions = service["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Available" && condition["status"] == "True")
}

fn runs_at(service: &Value, site: &str) -> bool {
    let components = service["status"]["components"].as_array();
    components.into_iter().flatten().any(|component| {
        component["sites"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|at| at == site)
    })
}
