use std::{fs, net::Ipv4Addr, path::Path};

use simple_dns::{Name, RCODE, TYPE, rdata};

use super::{
    super::{
        Dir,
        resolve::testing::{Server, bytes},
    },
    *,
};
use crate::{
    accumulator::{MemoryAccumulator, OwnedValue},
    input::{OptionSetting, Options},
};

const ONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn check(names: &[&str], types: &[&str], server: &str, timeout: Duration) -> Dns {
    let texts = |texts: &[&str]| OptionSetting::Texts(texts.iter().map(|&text| text.to_owned()).collect());
    let given = [
        ("names".to_owned(), texts(names)),
        ("types".to_owned(), texts(types)),
        ("server".to_owned(), OptionSetting::Text(server.to_owned())),
        ("timeout".to_owned(), OptionSetting::Duration(timeout)),
    ];
    Dns::new(Asked::new(Options::new(DEF.options, &given)).unwrap())
}

fn inside(root: &Path) -> Inside {
    let dir = |path| Dir::open(path).unwrap();
    Inside {
        deadline: Instant::now() + Duration::from_secs(60),
        root: dir(root),
        process: dir(Path::new("/proc/self")),
        procfs: None,
    }
}

/// What a helper would send back.
fn respond(check: &Dns, inside: &Inside) -> Result<Vec<u8>, InputError> {
    let request = check.serialize_request()?;
    let mut response = wire::Response::new();
    Dns::default().execute_request(&request.body, inside, &mut response)?;
    Ok(response.into_bytes().unwrap())
}

fn server() -> Server {
    Server::start(|asked| {
        let mail =
            rdata::RData::MX(rdata::MX { preference: 1, exchange: Name::new_unchecked("mail.example") });
        bytes(&[match (asked.name.as_str(), asked.kind) {
            ("db.a.example", TYPE::A) => asked.address(ONE),
            ("db.a.example", TYPE::MX) => {
                asked.answer(&[("db.a.example", mail.clone()), ("db.a.example", mail)])
            }
            ("db.a.example", _) => asked.answer(&[]),
            ("silent.a.example", _) => return Vec::new(),
            _ => asked.refuse(RCODE::NameError),
        }])
    })
}

fn root_with(resolv_conf: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/resolv.conf"), resolv_conf).unwrap();
    root
}

#[test]
fn names_that_are_there_and_not() {
    let server = server();
    let root = root_with("search a.example\n");
    let address = server.address.to_string();
    let mut check =
        check(&["db", "nope", "silent"], &["A", "TXT", "MX"], &address, Duration::from_millis(300));
    let response = respond(&check, &inside(root.path())).unwrap();
    let mut acc = MemoryAccumulator::new();
    check.process_response(&response, &mut acc).unwrap();
    for (labels, up, code, answers, steps) in [
        (["db", "A"], 1.0, Some(0.0), Some(1.0), 1.0),
        (["db", "MX"], 1.0, Some(0.0), Some(2.0), 1.0),
        (["db", "TXT"], 0.0, Some(0.0), Some(0.0), 2.0),
        (["nope", "A"], 0.0, Some(3.0), Some(0.0), 2.0),
        (["silent", "A"], 0.0, None, None, 1.0),
    ] {
        let number = |name| acc.number(name, &labels);
        assert_eq!(number("up"), Some(up), "{labels:?}");
        assert_eq!((number("rcode"), number("answers")), (code, answers), "{labels:?}");
        assert_eq!(number("search_steps"), Some(steps), "{labels:?}");
        assert_eq!(number("seconds").is_some(), code.is_some(), "{labels:?}");
    }
    assert_eq!(acc.number("executed", &[]), Some(1.0));
    assert_eq!(acc.number("results_total", &["silent", "A", "timeout"]), Some(1.0));
    assert_eq!(acc.number("results_total", &["silent", "A", "answered"]), Some(0.0));
}

#[test]
fn counts_add_up_survive_a_change_and_stay_when_a_check_fails() {
    let server = server();
    let root = root_with("search a.example\n");
    let address = server.address.to_string();
    let mut first = check(&["db", "nope"], &["A"], &address, Duration::from_secs(30));
    let mut acc = MemoryAccumulator::new();
    for _ in 0..2 {
        let response = respond(&first, &inside(root.path())).unwrap();
        first.process_response(&response, &mut acc).unwrap();
    }
    let mut second = check(&["db", "other"], &["A"], &address, Duration::from_secs(30));
    second.update_from(&mut first);
    let mut acc = MemoryAccumulator::new();
    second.generate_error_metrics(&HelperError::Died("killed".to_owned()), &mut acc);
    assert_eq!(acc.number("executed", &[]), Some(0.0));
    assert_eq!(acc.number("up", &["db", "A"]), None);
    assert_eq!(acc.number("results_total", &["db", "A", "answered"]), Some(2.0));
    assert_eq!(acc.number("results_total", &["other", "A", "answered"]), Some(0.0));
    let observed = |name: &str| {
        let of_name = |labels: &[(&str, String)]| labels.iter().any(|(_, value)| value == name);
        acc.samples().iter().find_map(|sample| match &sample.value {
            OwnedValue::Histogram(histogram) if of_name(&sample.labels) => Some(histogram.count()),
            _ => None,
        })
    };
    assert_eq!((observed("db"), observed("other")), (Some(2), Some(0)));
}

#[test]
fn a_trap_in_place_of_resolv_conf_is_a_failure_and_not_a_down() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/resolv.conf")).unwrap();
    let check = check(&["db"], &["A"], "127.0.0.1", Duration::from_secs(1));
    let error = respond(&check, &inside(root.path())).unwrap_err();
    assert!(error.to_string().starts_with("/etc/resolv.conf of the target: "), "{error}");
}

#[test]
fn a_helper_cannot_speak_of_what_was_not_asked() {
    let mut check = check(&["db"], &["A"], "", Duration::from_secs(1));
    let mut deliver = |metric: &'static crate::catalogue::Metric, labels: &[&[u8]], value: f64| {
        let mut response = wire::Response::new();
        response.put(&DEF, metric, labels, value).unwrap();
        let mut acc = MemoryAccumulator::new();
        let result = check.process_response(&response.into_bytes().unwrap(), &mut acc);
        assert!(result.is_ok() || acc.samples().is_empty());
        result
    };
    assert!(deliver(&metrics::UP, &[b"db", b"A"], 1.0).is_ok());
    assert!(deliver(&metrics::UP, &[b"evil", b"A"], 1.0).is_err());
    assert!(deliver(&metrics::RESULTS_TOTAL, &[b"db", b"A", b"evil"], 1.0).is_err());
    assert!(deliver(&EXECUTED, &[], 1.0).is_err());
    for lie in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(deliver(&metrics::SECONDS, &[b"db", b"A"], lie).is_err());
    }
}

#[test]
fn it_works_alone_in_the_agent() {
    let server = Server::start(|asked| bytes(&[asked.address(ONE)]));
    let mut check = check(&["db.example."], &["A"], &server.address.to_string(), Duration::from_secs(30));
    let mut acc = MemoryAccumulator::new();
    check.collect(&CollectContext::new(Duration::from_secs(30)), &mut acc).unwrap();
    assert_eq!(acc.number("up", &["db.example.", "A"]), Some(1.0));
    assert_eq!(acc.number("executed", &[]), Some(1.0));
}
