//! Workload Deployment Manager (TCRA 2.3): workloads on targets, and the instances they are made of.

mod configuration;
mod exec;
mod execution;
mod instance;
mod workload_deployment;

pub use configuration::{
    ConfigFile, Configuration, EnvVar, KeySelector, OnChange, PlacementFact, Value,
};
pub use exec::ExecFrame;
pub use execution::{
    Artefact, ArtefactForm, Execution, Port, Probe, ProbeAction, Protocol, SIGNAL, Stop,
    WritablePath,
};
pub use instance::{
    Instance, InstanceConfiguration, InstanceInterface, InstanceSpec, InstanceStatus,
    InterfaceRole, RefusedConfiguration, Serving, instance_name, is_available,
};
pub use workload_deployment::{
    DeploymentReplica, DeploymentTarget, WorkloadDeployment, WorkloadDeploymentSpec,
    WorkloadDeploymentStatus,
};
