//! pitot: a host agent for Linux nodes. Kernel counters and host inputs, through accumulators and
//! pipelines, to Prometheus.
//!
//! The modules stand in the order of the flow; a module uses those above it.
//!
//! ```text
//!  KERNEL    ebpf/src/bin/<family>.rs   a hook fires: O(1), counts into a bank
//!    v  mapped pages
//!  bpf       load, attach with fallback, pin and adopt, views of the pages
//!  source    the other door: files of /proc and /sys, opened once, parsed in place
//!    v
//!  input     one file each: defines its metrics and reads them
//!    v  Sample<'_>, borrowed
//!  accumulator   a series is interned once; a sample is an index and a value
//!    v  &Frame
//!  container what runs on this host and what it is called
//!  pod       executes checks (inputs) inside the namespaces of a container
//!    v
//!  pipeline  naming decided at birth, schedule, deadline, failure state
//!    v  &Frame
//!  output    one page of bytes for all scrapers, and the HTTP door
//! ```
//!
//! Beside the flow: [`catalogue`] (what an input is, as data), [`config`], [`tasks`] and [`cli`]; [`engine`] runs the
//! pipelines, [`telemetry`] is what the agent says about itself, [`budget`] holds it to what it may cost and
//! [`cost`] prints that; [`explain`] is what `pitot check` says; [`server`] serves all of it.

pub mod catalogue;

pub mod bpf;
pub mod source;
pub mod input;
pub mod accumulator;
pub mod container;
pub mod pod;
pub mod pipeline;
pub mod output;

pub mod engine;
pub mod telemetry;
pub mod config;
pub mod tasks;
pub mod budget;
pub mod cost;
pub mod explain;
pub mod docs;
pub mod privilege;
pub mod cli;
pub mod server;
mod process;
#[expect(unsafe_code, reason = "the few calls without a safe crate")]
mod sys;
