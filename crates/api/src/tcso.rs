//! Telco Cloud Service Orchestrator (TCRA 2.6): services.

mod service;

pub use service::{
    Component, ComponentStatus, Connection, ConnectionEnd, Service, ServiceSpec, ServiceStatus,
};
