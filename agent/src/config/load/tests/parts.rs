//! Pipelines, outputs and transforms.

use super::*;
use crate::{
    config::OutputFormat,
    pipeline::{Manipulation, TagPolicy},
};

#[test]
fn a_pipeline_has_a_source_and_the_keys_of_its_input() {
    let config = good(
        r#"
        [pipeline.fast]
        input = "cpu"
        interval = "1s"
        offset = "100ms"
        spread = "800ms"
        guest = false
        outputs = ["log", "prometheus"]
        [pipeline.short]
        from = "fast"
        sql = "SELECT max(node_cpu_frequency_hertz) AS speed_hertz FROM fast"
        allow = ["*_hertz"]
        [output.log]
        kind = "file"
        path = "/tmp/x"
        format = "json"
        max_bytes = "1MiB"
        keep = 2
        "#,
    );
    let [_, _, fast, short] = &config.pipelines[..] else { panic!("{:?}", config.pipelines) };
    assert_eq!((fast.key.as_str(), fast.def.name, fast.input.as_deref()), ("fast", "cpu", Some("cpu")));
    assert_eq!(
        (fast.interval, fast.spread),
        (Some(Duration::from_secs(1)), Some(Duration::from_millis(800)))
    );
    assert_eq!(fast.outputs, ["log", "prometheus"]);
    assert_eq!(fast.options, [("guest".to_owned(), OptionSetting::Bool(false))]);
    assert_eq!((short.from.as_deref(), short.input.as_deref(), short.def.name), (Some("fast"), None, "cpu"));
    let [log] = &config.outputs[..] else { panic!("{:?}", config.outputs) };
    assert_eq!((log.format, log.max_bytes, log.keep), (OutputFormat::Json, 1 << 20, 2));
    assert_eq!(log.path.as_deref(), Some(Path::new("/tmp/x")));
}

#[test]
fn sources_outputs_and_names_must_exist() {
    bad(
        r#"[pipeline.cpu]
input = "cpu"
[pipeline.a]
[pipeline.b]
input = "cpuu"
[pipeline.c]
from = "meminf"
[pipeline.d]
from = "e"
[pipeline.e]
from = "d"
[pipeline.f]
input = "cpu"
from = "cpu"
[pipeline.g]
from = "cpu"
guest = true
[pipeline.h]
input = "cpu"
outputs = ["promtheus", "x"]
[pipeline."i k"]
input = "cpu"
[pipeline.l]
input = "cpu"
outputs = []
"#,
        &[
            "1:11: `cpu` is the name of an input: its own pipeline is `[input.cpu]`",
            "3:11: pipeline `a` needs a source: `input = \"cpu\"`, or `from` another pipeline",
            "5:9: unknown input `cpuu`: did you mean `cpu`?",
            "7:8: unknown pipeline `meminf`: did you mean `meminfo`?",
            "9:8: it takes from itself: d -> e -> d",
            "11:8: it takes from itself: e -> d -> e",
            "14:8: `from` and `input` exclude each other",
            "16:8: a pipeline that takes what another publishes computes something of it: give `sql`, as in \"SELECT \
             max(metric) AS name FROM cpu\"",
            "17:1: `guest` is an option of input `cpu`, which `[pipeline.g]` does not collect itself: set it in the \
             table of that input",
            "20:12: unknown output `promtheus`: did you mean `prometheus`?",
            "21:11: `i k` cannot be a name: it takes up to 200 letters, digits, `_`, `-`, `.`, `/` and `:`",
            "25:11: `outputs` must name at least one; `enabled = false` switches it off",
        ],
    );
    bad(
        "[input.cpu]\nenabled = false\n[pipeline.x]\nfrom = \"cpu\"\nsql = \"SELECT max(x) AS y FROM cpu\"\n",
        &["4:8: `cpu` is not enabled: there is nothing to take from it"],
    );
}

#[test]
fn a_file_has_one_writer() {
    bad(
        "[output.a]\nkind = \"file\"\npath = \"/x\"\n[output.b]\nkind = \"file\"\npath = \"/x\"\n",
        &["4:9: output `b` writes to the file of `a`"],
    );
}

#[test]
fn transforms_are_read_in_full_and_refused_at_their_element() {
    let config = good(
        r#"
        [input.cpu]
        allow = ["/^cpu_/"]
        allow_labels = { cpu = ["0", "1"] }
        rename = { cpu_frequency_hertz = "speed_hertz" }
        values = { cpu_seconds_total = { manipulate = "rate", keep_negative = true } }
        derive = ["twice = speed_hertz * 2"]
        tag_policy = "tags_win"
        format = "x_%s"
        "#,
    );
    let transform = &config.pipelines[0].transform;
    assert_eq!(transform.allow_labels, [("cpu".to_owned(), vec!["0".to_owned(), "1".to_owned()])]);
    assert_eq!(transform.rename, [("cpu_frequency_hertz".to_owned(), "speed_hertz".to_owned())]);
    let rule = &transform.values[0];
    assert_eq!(
        (rule.pattern.as_str(), rule.manipulation, rule.keep_negative),
        ("cpu_seconds_total", Manipulation::Rate, true)
    );
    assert_eq!((transform.tag_policy, transform.format.as_deref()), (TagPolicy::TagsWin, Some("x_%s")));
    // As text, and back.
    let texts: Vec<_> = config.pipelines[0].settings().filter(|(key, _)| *key != "input").collect();
    let text =
        texts.iter().fold("[input.cpu]\n".to_owned(), |text, (key, value)| text + key + " = " + value + "\n");
    assert_eq!(good(&text).pipelines[0].hash(), config.pipelines[0].hash(), "{text}");
    bad(
        r#"[input.cpu]
allow_labels = { cpuu = ["0"], cpu = [] }
values = { cpu_seconds_total = { manipulate = "delat" } }
tag_policy = "tags"
derive = ["a = nothing + 1"]
"#,
        &[
            "2:18: no metric of input `cpu` has a label `cpuu`: did you mean `cpu`?",
            "2:32: `allow_labels` has no pattern for label `cpu`: give one, or remove the label",
            "3:47: `values` cannot be \"delat\": did you mean `delta`?",
            "4:14: `tag_policy` cannot be \"tags\": it takes `own_wins`, `tags_win`, `refuse`",
            "5:16: there is no metric `nothing` to compute from: it has `cpu_seconds_total`, `cpu_frequency_hertz`",
        ],
    );
}

#[test]
fn an_output_says_what_it_is_and_only_what_concerns_it() {
    bad(
        r#"[output.prometheus]
[output.a]
path = "/x"
[output.b]
kind = "file"
[output.c]
kind = "console"
max_bytes = "1MiB"
[output.d]
kind = "fiel"
path = "/y"
[output.e]
kind = "file"
path = "/z"
max_bytes = 100
formt = "text"
[input.cpu]
outputs = ["c"]
"#,
        &[
            "1:9: output `prometheus` is always there, and has no settings",
            "2:9: output `a` needs a `kind`: `console`, `file`",
            "4:9: output `b` needs a `path`: it is a file",
            "8:13: `max_bytes` is about files, and `c` is a console",
            "10:8: `kind` cannot be \"fiel\": did you mean `file`?",
            "11:8: `path` is about files, and `d` is a console",
            "15:13: `max_bytes` needs a unit: \"100B\" or \"100MiB\"",
            "16:1: unknown key `formt` in `[output.e]`: did you mean `format`?",
            "18:11: without `prometheus` among `outputs` nobody scrapes it: it needs an `interval`",
        ],
    );
}
