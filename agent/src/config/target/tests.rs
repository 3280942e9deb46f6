use std::fmt::Write as _;

use crate::config::{Config, PipelineConfig, load};

/// What is wrong with a file, a line each.
fn problems(text: &str) -> String {
    let mut said = String::new();
    for problem in load(text, Config::default()).err().unwrap_or_default() {
        writeln!(said, "{problem}").unwrap();
    }
    said
}

fn pipeline(text: &str) -> PipelineConfig {
    load(text, Config::default()).unwrap().pipelines.into_iter().find(|pipeline| pipeline.key == "p").unwrap()
}

#[test]
fn a_target_is_read_and_written_alike() {
    let target = r#"{ namespace = "shop", pod = "web-*", runtime = "cri-o", labels = { "app" = "web", "tier" = "" } }"#;
    let text = format!(
        "[pipeline.p]\ninput = \"disk\"\nenabled = false\ntarget = {target}\nconcurrency = 3\nrate = 2.5\n"
    );
    let read = pipeline(&text);
    let given = |key: &str| read.given().into_iter().find(|(name, _)| *name == key).map(|(_, text)| text);
    assert_eq!(given("target").as_deref(), Some(target));
    assert_eq!((given("concurrency").as_deref(), given("rate").as_deref()), (Some("3"), Some("2.5")));
    let other = pipeline(&text.replace("web-*", "db-*"));
    assert_ne!(read.hash(), other.hash());
    assert_eq!(read.changes(&other).iter().map(|change| change.key.as_str()).collect::<Vec<_>>(), ["target"]);
}

#[test]
fn what_is_wrong_with_a_target_is_said_where_it_stands() {
    let said = |target: &str| problems(&format!("[input.disk]\ntarget = {target}\n"));
    for (target, words) in [
        ("{}", "2:10: `target` is empty: say which containers, as in `target = { pod = \"*\" }`"),
        ("\"web\"", "2:10: `target` must be a table, not a string"),
        ("{ pdo = \"x\" }", "2:12: unknown key `pdo` in `target`: did you mean `pod`?"),
        ("{ pod = 1 }", "2:18: `pod` must be a pattern in quotes, not an integer"),
        ("{ pod = \"\" }", "2:18: `pod` must not be empty"),
        ("{ runtime = \"dokcer\" }", "2:22: no runtime is called `dokcer`: did you mean `docker`?"),
        ("{ labels = {} }", "2:21: `labels` must be a table of names and patterns"),
        ("{ labels = { app = 1 } }", "2:29: `app` must be a pattern in quotes, not an integer"),
    ] {
        assert!(said(target).starts_with(words), "{target}: {}", said(target));
    }
    let said = problems("[input.cpu]\ntarget = { pod = \"*\" }\n");
    assert!(said.starts_with("2:1: `target` is for checks, and `[input.cpu]` collects none"), "{said}");
    let said = problems("[input.disk]\ntargets = 1\n");
    assert!(
        said.starts_with("2:1: unknown key `targets` in `[input.disk]`: did you mean `target`?"),
        "{said}"
    );
}

#[test]
fn what_is_taken_of_a_target_is_read_with_the_file() {
    let said =
        |tags: &str| problems(&format!("[input.disk]\ntarget = {{ pod = \"*\" }}\ntags = {{ {tags} }}\n"));
    assert_eq!(said("team = \"{label:team}\", plain = \"{{x}\""), "");
    assert_eq!(
        said("team = \"a {lable:team}\""),
        "3:20: `tags`: unknown `{lable:team}`: did you mean `label`? (a brace itself is `{{`)\n"
    );
    let said = problems("[input.disk]\ntags = { team = \"a {label:team}\", braces = \"{}\" }\n");
    assert!(
        said.starts_with("2:20: `tags` takes something of a target, and there is none: say which"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let said =
        |tags: &str| problems(&format!("[input.disk]\ntarget = {{ pod = \"*\" }}\ntags = {{ {tags} }}\n"));
    let many: Vec<String> = (0..9).map(|at| format!("t{at} = \"{{label:t{at}}}\"")).collect();
    assert!(said(&many.join(", ")).contains("`tags` may have 8 that follow from the target, not 9"));
}

#[test]
fn queries_and_lists_know_the_labels_of_targets() {
    let file = |keys: &str| format!("[pipeline.p]\ninput = \"disk\"\nenabled = false\n{keys}\n");
    let sql = "sql = \"SELECT sum(executed) AS executed FROM disk GROUP BY namespace, team\"";
    let targets = "target = { pod = \"*\" }\ntags = { team = \"{label:team}\" }";
    assert_eq!(problems(&file(&format!("{targets}\n{sql}"))), "");
    assert!(problems(&file(sql)).contains("namespace"));
    assert_eq!(problems(&file(&format!("{targets}\ndeny_labels = {{ pod = [\"x*\"] }}"))), "");
}
