//! Containers and a check for tests.

use std::{any::Any, collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    plan::{CheckConfig, Plan},
    selector::Selector,
};
use crate::{
    accumulator::Accumulator,
    catalogue::{CheckDef, Label, Metric, Namespace, OptionDef, OptionValue, Source},
    config::PipelineConfig,
    container::{Container, Pod, Process, Role, Runtime},
    input::{
        CollectContext, Input, InputDef, InputError, OptionSetting, Unsupported,
        check::{EXECUTED, FAILURES, HelperError, Inside, NetworkMode, PodInput, Request, wire},
    },
    source::Roots,
};

/// A container of a pod.
pub(super) fn container(id: &str, namespace: &str, pod: &str, name: &str) -> Container {
    let pod = Pod {
        uid: format!("uid-{namespace}-{pod}"),
        name: pod.to_owned(),
        namespace: namespace.to_owned(),
        labels: BTreeMap::from([("app".to_owned(), pod.to_owned())]),
        annotations: BTreeMap::new(),
        ip: "10.0.0.7".to_owned(),
    };
    Container {
        id: id.to_owned(),
        name: name.to_owned(),
        runtime: Runtime::Containerd,
        role: Role::Workload,
        pod: Some(Arc::new(pod)),
        image: "registry/nginx:1".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        process: Some(Process { pid: 7, started: 1 }),
        cgroup: format!("kubepods/{id}"),
        cgroup_id: None,
        sandboxed: None,
        host_network: None,
        started: None,
    }
}

static SEEN: Metric = Metric::gauge("seen", "What the target was asked.", &[Label::bounded("asked", 9)]);
static ASKED: Metric = Metric::counter("asked_total", "How often it answered.", &[]);
static NEEDS: CheckDef = CheckDef { namespaces: &[Namespace::Net], as_target: false, executes: false };

/// A check whose request is its only option, and that counts its answers.
pub(super) static ECHO: InputDef = InputDef {
    name: "echo",
    about: "Asks for a text.",
    prefix: "echo_",
    source: Source::Check(&NEEDS),
    cost: "nothing",
    metrics: &[&EXECUTED, &FAILURES, &SEEN, &ASKED],
    options: &[OptionDef { key: "ask", default: OptionValue::Text(""), help: "What to ask." }],
    open: |cx| match cx.options.text("ask") {
        "" => Err(Unsupported("`ask` is missing: say what to ask".to_owned())),
        ask => Ok(Box::new(Echo { ask: ask.to_owned(), answers: 0 })),
    },
};

struct Echo {
    ask: String,
    answers: u64,
}

impl Input for Echo {
    fn definition(&self) -> &'static InputDef {
        &ECHO
    }
    fn collect(&mut self, _cx: &CollectContext, _acc: &mut dyn Accumulator) -> Result<(), InputError> {
        Err(InputError::Other("only for pipelines".to_owned()))
    }
    fn update_from(&mut self, old: &mut dyn Any) {
        if let Some(old) = old.downcast_ref::<Self>() {
            self.answers = old.answers;
        }
    }
    fn check(&mut self) -> Option<&mut dyn PodInput> {
        Some(self)
    }
}

impl PodInput for Echo {
    fn network_mode(&self) -> NetworkMode {
        NetworkMode::Pod
    }
    fn serialize_request(&self) -> Result<Request, InputError> {
        let body = self.ask.clone().into_bytes();
        Ok(Request { input: "echo".to_owned(), body, timeout: Duration::from_secs(2) })
    }
    fn execute_request(&mut self, _: &[u8], _: &Inside, _: &mut wire::Response) -> Result<(), InputError> {
        Err(InputError::Other("only for pipelines".to_owned()))
    }
    fn process_response(&mut self, response: &[u8], acc: &mut dyn Accumulator) -> Result<(), HelperError> {
        assert_ne!(response, b"panic", "told to");
        wire::deliver(&ECHO, response, acc)?;
        self.answers += 1;
        acc.put(&ASKED, &[], self.answers);
        acc.put(&EXECUTED, &[], true);
        Ok(())
    }
}

/// The response that says by whom it was given and what was asked.
pub(super) fn answer(by: f64, asked: &[u8]) -> Vec<u8> {
    let mut response = wire::Response::new();
    response.put(&ECHO, &SEEN, &[asked], by).unwrap();
    response.into_bytes().unwrap()
}

/// The pipeline of the check for these targets.
pub(super) fn pipeline(selector: Option<Selector>, ask: &str) -> PipelineConfig {
    PipelineConfig {
        options: vec![("ask".to_owned(), OptionSetting::Text(ask.to_owned()))],
        check: CheckConfig { target: selector, ..CheckConfig::default() },
        ..PipelineConfig::new(&ECHO)
    }
}

/// What that does.
pub(super) fn plan(selector: Selector) -> Plan {
    Plan::of(&pipeline(Some(selector), "{pod}"), &NEEDS, &Roots::default())
}

/// What the check needs.
pub(super) fn needs() -> &'static CheckDef {
    &NEEDS
}
