use super::*;
use crate::{
    config::Config,
    input::{OptionSetting, check::NetworkMode},
};

fn task(text: &str) -> CollectTask {
    serde_json::from_str(text).unwrap()
}

fn resolved(config: &str, rest: &str) -> Result<PipelineConfig, Complaints> {
    let whole = Config::default();
    let around = Surroundings { config: &whole, hostname: "me" };
    resolve(&task(&format!(r#"{{"key":"k","config":{config}{rest}}}"#)), around)
}

#[test]
fn a_task_becomes_a_pipeline_of_its_input() {
    let config = resolved(
        r#"{"input":"cpu","deadline":"50ms","options":{"info":true},"refMetas":{"app":"app","node":{"name":"host"}},
            "executeRule":{"type":"fixedRate","fixedRate":5000,"offset":"1s"},
            "transform":{"metricFormat":"sys_%s","metricWhiteList":["cpu_*"],
                "metricConfigs":{"cpu_seconds_total":{"valueManipulation":"RATE"}}}}"#,
        r#","target":{"type":"localhost","meta":{"app":"shop"}}"#,
    )
    .unwrap();
    assert_eq!((config.key.as_str(), config.def.name, config.input.as_deref()), ("k", "cpu", Some("cpu")));
    assert_eq!(config.interval, Some(Duration::from_secs(5)));
    assert_eq!((config.offset, config.deadline), (Duration::from_secs(1), Duration::from_millis(50)));
    assert_eq!(config.options, [("info".to_owned(), OptionSetting::Bool(true))]);
    let transform = config.transform;
    let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(transform.target_tags, [tag("app", "shop"), tag("node", "me")]);
    assert_eq!((transform.format.as_deref(), transform.prefix), (Some("sys_%s"), None));
    assert_eq!(transform.values[0].manipulation, Manipulation::Rate);
}

#[test]
fn what_is_not_acted_on_is_refused_with_the_way_out() {
    let said = |config: &str, rest: &str| resolved(config, rest).unwrap_err().join("; ");
    for (config, rest, words) in [
        (r#"{"input":"cpuu"}"#, "", "`config.input`: unknown input `cpuu`: did you mean `cpu`?"),
        (r#"{"input":"sched"}"#, "", "use `from = \"sched\"`"),
        (r#"{"from":"nothing"}"#, "", "`config.from`: unknown pipeline `nothing`"),
        ("{}", "", "`config.input` is missing"),
        (r#"{"input":"cpu","options":{"infos":true}}"#, "", "did you mean `info`?"),
        (r#"{"input":"cpu","options":{"info":1}}"#, "", "`config.options.info` must be true or false, not 1"),
        (r#"{"input":"cpu","outputs":["x"]}"#, "", "`config.outputs`: unknown output `x`"),
        (
            r#"{"input":"cpu","executeRule":{"type":"fixedRate"}}"#,
            "",
            "`config.executeRule.fixedRate` is missing",
        ),
        (r#"{"input":"cpu","executeRule":{"fixedRate":5}}"#, "", "must be \"fixedRate\""),
        (
            r#"{"input":"cpu","executeRule":{"type":"fixedRate","fixedRate":5,"offset":5}}"#,
            "",
            "must be shorter than `fixedRate`",
        ),
        (r#"{"input":"cpu","executeRule":{"type":"fixedRate","fixedRate":0}}"#, "", "between 1ms and 24h"),
        (r#"{"input":"cpu","transform":{"scripts":[{}]}}"#, "", "say what they compute in `derive`"),
        (
            r#"{"input":"cpu","transform":{"allow":["nothing"]}}"#,
            "",
            "no metric of input `cpu` is called `nothing`",
        ),
        (r#"{"input":"cpu","transform":{"prefix":"a","format":"b%s"}}"#, "", "`config.transform.format`"),
        (r#"{"input":"cpu","refMetas":{"ip":"ip"}}"#, "", "the target has no `ip`: give it in `target.meta`"),
        (
            r#"{"input":"cpu","refMetas":{"0":"host"}}"#,
            "",
            "`config.refMetas.0`: tag `0` is not a label name",
        ),
        (r#"{"input":"cpu"}"#, r#","target":{"type":"pod"}"#, "`target.meta.pod` is missing"),
        (
            r#"{"input":"cpu"}"#,
            r#","target":{"path":"a"}"#,
            "`target.path` is for targets of type \"cgroup\"",
        ),
        (
            r#"{"input":"cpu"}"#,
            r#","target":{"type":"cgroup","path":"a"}"#,
            "a control group narrows what a query takes: say in `config.sql`",
        ),
    ] {
        let said = said(config, rest);
        assert!(said.contains(words), "{config}{rest}: {said}");
    }
    let whole = Config::default();
    let around = Surroundings { config: &whole, hostname: "me" };
    let clash = resolve(&task(r#"{"key":"cpu","config":{"input":"cpu"}}"#), around).unwrap_err();
    assert!(clash[0].starts_with("`key`: `cpu` is an input or a pipeline"), "{clash:?}");
}

#[test]
fn queries_are_taken_as_sql_and_as_data_and_narrowed_to_a_control_group() {
    let sql = "SELECT sum(rate(cpu_seconds_total)) AS busy FROM cpu WHERE mode != 'idle' GROUP BY cpu";
    let data = r#"{"input":"cpu","select":[{"metric":"cpu_seconds_total","as":"busy","agg":"sum","of":"rate"}],
        "where":{"not":{"equals":{"label":"mode","to":"idle"}}},"groupBy":["cpu"]}"#;
    let as_sql = resolved(&format!(r#"{{"input":"cpu","sql":"{sql}"}}"#), "").unwrap();
    let as_data = resolved(data, "").unwrap();
    assert_eq!((as_sql.queries.len(), as_sql.hash()), (1, as_data.hash()));
    assert_eq!(as_sql.queries[0].to_string(), sql);
    let from = resolved(
        r#"{"from":"sched","sql":["SELECT max(pitot_sched_migrations_total) AS y FROM sched"]}"#,
        "",
    )
    .unwrap();
    assert_eq!((from.from.as_deref(), from.input, from.queries.len()), (Some("sched"), None, 1));

    let target = r#","target":{"type":"cgroup","path":"system.slice/a.service"}"#;
    let sql = "SELECT max(pitot_sched_migrations_total) AS y FROM sched WHERE cpu = '0' OR cpu = '1'";
    let of_group = resolved(&format!(r#"{{"from":"sched","sql":"{sql}"}}"#), target).unwrap();
    let narrowed = "SELECT max(pitot_sched_migrations_total) AS y FROM sched WHERE cgroup = 'system.slice/a.service' AND (cpu = '0' OR cpu = '1')";
    assert_eq!(of_group.queries[0].to_string(), narrowed);
    assert!(of_group.transform.allow_labels.is_empty());
}

#[test]
fn queries_that_cannot_be_are_refused() {
    for (config, rest, words) in [
        (
            r#"{"from":"cpu"}"#,
            "",
            "`config.from`: a pipeline that takes what another publishes computes something of it: give `sql`",
        ),
        (r#"{"input":"cpu","window":"1s"}"#, "", "`config.window` is a part of a query: say with `select`"),
        (
            r#"{"input":"cpu","sql":"SELECT sum(cpu_seconds_total) AS x FROM cpu","groupBy":[]}"#,
            "",
            "`config.sql` and `config.groupBy` exclude each other",
        ),
        (
            r#"{"input":"cpu","sql":"SELECT sum(cpu_seconds_totl) AS x FROM cpu WINDOW 1s"}"#,
            "",
            "`config.sql`, `select 1`: input `cpu` has no metric `cpu_seconds_totl`: did you mean `cpu_seconds_total`?; \
             `config.sql`, `window`: a window needs collections at a steady pace",
        ),
        (
            r#"{"input":"cpu","sql":"SELECT sum(cpu_seconds_total) AS x FROM cpuu"}"#,
            "",
            "`config.sql`, `from`: `cpuu` is not what it takes its samples from: say FROM cpu,",
        ),
        (
            r#"{"input":"cpu","select":[{"metric":"cpu_seconds_total","as":"x","agg":"sum"}],"groupBy":["cpus"]}"#,
            "",
            "`config.groupBy`: `cpu_seconds_total` has no label `cpus`: did you mean `cpu`?",
        ),
        (
            r#"{"input":"cpu","sql":"SELECT sum(cpu_seconds_total) AS x FROM cpu"}"#,
            r#","target":{"type":"cgroup","path":"a"}"#,
            "`cpu_seconds_total` has no label `cgroup`",
        ),
        (
            r#"{"input":"cpu","sql":"SELECT sum(cpu_seconds_total) AS x FROM cpu","transform":{"allow":["y"]}}"#,
            "",
            "no metric of the query is called `y`: did you mean `x`?",
        ),
    ] {
        let said = resolved(config, rest).unwrap_err().join("; ");
        assert!(said.contains(words), "{config}{rest}: {said}");
    }
}

#[test]
fn a_pod_is_the_target_of_a_check_and_narrows_what_a_query_takes() {
    let pod = r#","target":{"type":"pod","meta":{"namespace":"shop","pod":"web-0","tenant":"{7}"}}"#;
    let config = resolved(
        r#"{"type":"disk","refMetas":{"app":"app","team":"labels.team","port":{"name":"annotations.example.com/port"},
            "tenant":"tenant","host":"hostname"}}"#,
        pod,
    )
    .unwrap();
    let selector = config.check.target.unwrap();
    assert_eq!(
        (selector.namespace.as_deref(), selector.pod.as_deref(), selector.container),
        (Some("shop"), Some("web-0"), None)
    );
    let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let tags = [
        tag("app", "{app}"),
        tag("host", "{hostname}"),
        tag("port", "{annotation:example.com/port}"),
        tag("team", "{label:team}"),
        tag("tenant", "{{7}"),
    ];
    assert_eq!(config.transform.target_tags, tags);
    let container =
        r#","target":{"type":"container","meta":{"namespace":"shop","pod":"web-0","containerName":"app"}}"#;
    let config = resolved(r#"{"input":"disk","options":{"networkMode":"POD"}}"#, container).unwrap();
    assert_eq!(config.check.target.unwrap().container.as_deref(), Some("app"));
    assert_eq!(config.check.network_mode, NetworkMode::Pod);
    let sql = "SELECT max(pitot_sched_migrations_total) AS y FROM sched";
    let narrowed = resolved(&format!(r#"{{"from":"sched","sql":"{sql}"}}"#), container).unwrap();
    let all = " WHERE namespace = 'shop' AND pod = 'web-0' AND container = 'app'";
    assert_eq!(narrowed.queries[0].to_string(), format!("{sql}{all}"));
}

#[test]
fn what_a_task_may_not_ask_of_containers_is_refused() {
    let pod = r#","target":{"type":"pod","meta":{"pod":"web-0"}}"#;
    for (config, rest, words) in [
        (r#"{"input":"cpu"}"#, pod, "`target.type`: input `cpu` measures the host"),
        (
            r#"{"input":"disk"}"#,
            r#","target":{"type":"container","meta":{"pod":"web-0"}}"#,
            "`target.meta.containerName` is missing",
        ),
        (
            r#"{"input":"disk","refMetas":{"x":"zone"}}"#,
            pod,
            "a container has no `zone`: it has `namespace`, `pod`",
        ),
        (r#"{"input":"disk","refMetas":{"x":"labels.a|b"}}"#, pod, "a container has no `labels.a|b`"),
        (
            r#"{"input":"disk","transform":{"tags":{"x":"{labl:a}"}}}"#,
            pod,
            "`config.transform.tags.x`: unknown `{labl:a}`",
        ),
        (r#"{"input":"disk","options":{"networkMode":"POD"}}"#, "", "\"pod\" needs a target"),
        (
            r#"{"input":"disk","options":{"networkMode":"both"}}"#,
            pod,
            "must be \"pod\" or \"agent\", not \"both\"",
        ),
        (
            r#"{"input":"disk","options":{"networkMode":"AGENT"}}"#,
            pod,
            "checks from outside what options say of the target",
        ),
        (
            r#"{"input":"exec","options":{"programs":["/bin/sh"]}}"#,
            "",
            "only `[input.exec]` of the agent's configuration may say it",
        ),
    ] {
        let said = resolved(config, rest).unwrap_err().join("; ");
        assert!(said.contains(words), "{config}{rest}: {said}");
    }
}
