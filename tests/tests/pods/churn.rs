//! Pods are killed and made anew while they are checked: no check is ever made in another one than it says.

use std::{collections::BTreeMap, fs};

use xtask::pods::{Lab, Pod};

use crate::{
    agent::Agent,
    checks::{config, web},
};

/// Checks that were executed before this ends.
const CHECKS: f64 = 10_000.0;
const AT_ONCE: usize = 12;
/// What a check finds that was made in the wrong pod: a server that has no page of this name.
const WRONG: [&str; 2] = ["status", "body"];

pub(crate) fn no_check_is_made_in_the_wrong_pod(lab: &Lab) {
    let agent = Agent::start(&config(
        lab,
        r#"
[pipeline.web]
input = "httpcheck"
interval = "20ms"
timeout = "1s"
url = "http://127.0.0.1:8080/{pod}"
target = { namespace = "SPACE", pod = "churn-*" }
"#,
    ));
    let mut pods: Vec<Pod> = Vec::new();
    let mut made = 0;
    // Counters of each pod go with it: the highest that was seen of each.
    let mut seen: BTreeMap<(String, String), f64> = BTreeMap::new();
    let count = |seen: &BTreeMap<(String, String), f64>, wanted: &dyn Fn(&str) -> bool| -> f64 {
        seen.iter().filter(|((_, result), _)| wanted(result)).map(|(_, value)| value).sum()
    };
    while count(&seen, &|_| true) < CHECKS {
        if pods.len() == AT_ONCE {
            let pod = pods.remove(made * 7 % AT_ONCE);
            let first = pod.sandbox.pid;
            pod.delete().unwrap();
            // The next processes get the numbers of those that have just ended, as far as nobody else takes them.
            let _reuse = fs::write("/proc/sys/kernel/ns_last_pid", (first - 1).to_string());
        }
        pods.push(web(lab, &format!("churn-{made}")));
        made += 1;
        let page = agent.scrape();
        for series in page.all("pitot_httpcheck_checks_total", &[]) {
            let key = (series.labels["pod"].clone(), series.labels["result"].clone());
            let highest = seen.entry(key).or_default();
            *highest = highest.max(series.value);
        }
        let wrong = count(&seen, &|result| WRONG.contains(&result));
        assert_eq!(wrong, 0.0, "after {made} pods: {seen:?}\n{}", page.beginning("pitot_httpcheck_down"));
        for series in page.all("pitot_httpcheck_status_code", &[]) {
            assert_eq!(series.value, 200.0, "{series:?}");
        }
    }
    println!(
        "{} checks of {made} pods, {} of which found their pod up",
        count(&seen, &|_| true),
        count(&seen, &|result| result == "up")
    );
    assert!(count(&seen, &|result| result == "up") > CHECKS / 2.0, "most find their pod: {seen:?}");
    for pod in pods {
        pod.delete().unwrap();
    }
}
