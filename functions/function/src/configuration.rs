//! The configuration file in force, and what became of the last attempt to change it.
//!
//! An invalid file is refused as a whole: the previous text stays in force. Whoever reloads by `POST` is told at once;
//! a signal has no answer, so a refusal after SIGHUP shows at `/healthz` until a good file is read.

use crate::{Error, Function};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// The largest configuration file that is read.
const SIZE_MAX: u64 = 64 * 1024;

/// Why a configuration was refused: every problem found, not only the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub Vec<String>);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("configuration refused: ")?;
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Refusal {}

impl From<String> for Refusal {
    fn from(problem: String) -> Self {
        Self(vec![problem])
    }
}

/// A function together with its configuration file.
pub(crate) struct Configured<F> {
    pub(crate) function: Arc<F>,
    path: PathBuf,
    in_force: RwLock<String>,
    refused_silently: RwLock<Option<Refusal>>,
    /// Held over a whole reload, so that two at once cannot leave one's text beside the other's effect.
    turn: tokio::sync::Mutex<()>,
}

impl<F: Function> Configured<F> {
    /// Reads the file and puts it in force; a function does not start on a refused one.
    pub(crate) async fn start(function: F, path: PathBuf) -> Result<Self, Error> {
        let configured = Self {
            function: Arc::new(function),
            path,
            in_force: RwLock::default(),
            refused_silently: RwLock::default(),
            turn: tokio::sync::Mutex::default(),
        };
        configured.reload().await.map_err(Error::Configuration)?;
        Ok(configured)
    }

    /// Reads the file again; on a refusal the previous configuration stays.
    pub(crate) async fn reload(&self) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        let text = self.read()?;
        self.function.apply(&text).await?;
        set(&self.in_force, text);
        set(&self.refused_silently, None);
        Ok(())
    }

    /// Reads the file again because of a signal, which has no answer: a refusal is kept for `/healthz`.
    pub(crate) async fn reload_unanswered(&self) {
        match self.reload().await {
            Ok(()) => crate::log("configuration reloaded"),
            Err(refusal) => {
                crate::log(&format!("{refusal}; the previous one stays in force"));
                set(&self.refused_silently, Some(refusal));
            }
        }
    }

    /// The text of the configuration in force.
    pub(crate) fn in_force(&self) -> String {
        get(&self.in_force)
    }

    /// The refusal that nobody was told of, if the last reload ended so.
    pub(crate) fn refused(&self) -> Option<Refusal> {
        get(&self.refused_silently)
    }

    fn read(&self) -> Result<String, Refusal> {
        let name = self.path.display();
        if let (Some(absent), Ok(false)) = (F::ABSENT, self.path.try_exists()) {
            return Ok(absent.to_owned());
        }
        let size = std::fs::metadata(&self.path).map(|file| file.len());
        if size.is_ok_and(|size| size > SIZE_MAX) {
            return Err(format!("{name} is larger than {SIZE_MAX} bytes").into());
        }
        std::fs::read_to_string(&self.path).map_err(|e| format!("cannot read {name}: {e}").into())
    }
}

/// Values are replaced whole, so one behind a poisoned lock is as good as any.
fn set<T>(place: &RwLock<T>, value: T) {
    *place.write().unwrap_or_else(PoisonError::into_inner) = value;
}

fn get<T: Clone>(place: &RwLock<T>) -> T {
    place.read().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;

    /// Accepts any text but "bad".
    struct Picky;

    impl Function for Picky {
        const NAME: &'static str = "picky";
        const PORT: u16 = 0;
        const CONFIG_FILE: &'static str = "/nowhere";
        const ABSENT: Option<&'static str> = Some("absent");

        async fn apply(&self, text: &str) -> Result<(), Refusal> {
            match text {
                "bad" => Err(Refusal(vec!["one".into(), "two".into()])),
                _ => Ok(()),
            }
        }

        fn routes(self: Arc<Self>) -> Router {
            Router::new()
        }
    }

    async fn started(text: &str) -> (tempfile::TempDir, PathBuf, Configured<Picky>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, text).unwrap();
        let configured = Configured::start(Picky, path.clone()).await.unwrap();
        (folder, path, configured)
    }

    #[tokio::test]
    async fn refused_file_leaves_the_previous_in_force_and_is_remembered() {
        let (_folder, path, configured) = started("good").await;
        std::fs::write(&path, "bad").unwrap();
        configured.reload_unanswered().await;
        assert_eq!(configured.in_force(), "good");
        let refusal = configured.refused().unwrap();
        assert_eq!(refusal.to_string(), "configuration refused: one; two");
        std::fs::write(&path, "better").unwrap();
        configured.reload_unanswered().await;
        assert_eq!(configured.in_force(), "better");
        assert_eq!(configured.refused(), None);
    }

    #[tokio::test]
    async fn answered_refusal_does_not_make_the_function_unhealthy() {
        let (_folder, path, configured) = started("good").await;
        std::fs::write(&path, "bad").unwrap();
        assert!(configured.reload().await.is_err());
        assert_eq!(configured.refused(), None);
    }

    #[tokio::test]
    async fn absent_file_stands_for_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let configured = Configured::start(Picky, folder.path().join("none"));
        assert_eq!(configured.await.unwrap().in_force(), "absent");
    }

    #[tokio::test]
    async fn refused_file_at_start_ends_the_function() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "bad").unwrap();
        let error = Configured::start(Picky, path).await.err().unwrap();
        assert!(matches!(error, Error::Configuration(_)), "{error}");
    }

    #[tokio::test]
    async fn file_over_the_limit_is_refused() {
        let (_folder, path, configured) = started("good").await;
        let limit = usize::try_from(SIZE_MAX).unwrap();
        std::fs::write(&path, "x".repeat(limit)).unwrap();
        configured.reload().await.unwrap();
        std::fs::write(&path, "x".repeat(limit + 1)).unwrap();
        let refusal = configured.reload().await.unwrap_err();
        assert!(refusal.to_string().contains("larger than"), "{refusal}");
    }
}
