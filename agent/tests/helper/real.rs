//! The checks that there are, in helpers of the agent's own binary: what they ask of the kernel is allowed.

use std::path::Path;

use pitot::{
    accumulator::MemoryAccumulator,
    bpf::Loader,
    catalogue::Source,
    input::{
        OpenContext, OptionSetting, Options,
        check::{CHECKS, HelperError, Known},
    },
    pod::{Helpers, Target},
    source::Roots,
};

use crate::{
    Test,
    crew::Crew,
    target::{PORT, Running},
};

pub(crate) const TESTS: &[Test] = &[("the_checks_that_there_are_find_out_what_they_are_for", find_out)];

fn texts(key: &str, values: &[&str]) -> (String, OptionSetting) {
    (key.to_owned(), OptionSetting::Texts(values.iter().map(|value| (*value).to_owned()).collect()))
}

fn check(
    known: &Known,
    options: &[(String, OptionSetting)],
    ask: impl Fn(&pitot::input::check::Request) -> Result<Vec<u8>, HelperError>,
) -> MemoryAccumulator {
    let name = known.def.name;
    let (mut bpf, roots) = (Loader::off("no programs"), Roots::default());
    let options = Options::new(known.def.options, options);
    let opened = (known.def.open)(&mut OpenContext { roots: &roots, options, bpf: &mut bpf });
    let mut input = opened.unwrap_or_else(|why| panic!("{name}: {}", why.0));
    let check = input.check().unwrap();
    let response = ask(&check.serialize_request().unwrap()).unwrap_or_else(|why| panic!("{name}: {why}"));
    let mut memory = MemoryAccumulator::new();
    check.process_response(&response, &mut memory).unwrap_or_else(|why| panic!("{name}: {why}"));
    memory
}

fn find_out() {
    let crew = Crew::new();
    let target = Running::start(&["net", "pid", "mnt", "uts", "ipc"]);
    let helpers = Helpers::start_from(Path::new(env!("CARGO_BIN_EXE_pitot")), CHECKS, 8).unwrap();
    let url = format!("http://127.0.0.1:{PORT}/");
    for known in CHECKS {
        let Source::Check(needs) = known.def.source else { panic!("{} is no check", known.def.name) };
        let target: Target = target.target();
        let ask =
            |request: &pitot::input::check::Request| crew.wait(helpers.execute(&target, needs, request));
        let port = PORT.to_string();
        let (options, found) = match known.def.name {
            "dialcheck" => (vec![texts("ports", &[&port])], ("up", vec![port.as_str()])),
            "httpcheck" => (vec![("url".to_owned(), OptionSetting::Text(url.clone()))], ("up", vec![])),
            "ping" => (vec![texts("hosts", &["127.0.0.1"])], ("up", vec!["127.0.0.1"])),
            "dns" => (vec![texts("names", &["localhost"])], ("executed", vec![])),
            "exec" => (
                vec![
                    texts("command", &["/bin/echo", "answer 42"]),
                    texts(pitot::input::check::exec::PROGRAMS, &["/bin/echo"]),
                ],
                ("up", vec![]),
            ),
            _ => (Vec::new(), ("executed", vec![])),
        };
        let memory = check(known, &options, ask);
        assert_eq!(memory.number(found.0, &found.1), Some(1.0), "{}", known.def.name);
    }
}
