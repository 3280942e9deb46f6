//! Tasks as data: what their files say, before it is known whether it can be done.

use std::{collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use crate::{
    config::{in_text, parse_duration},
    pipeline::{
        QueryConfig,
        query::{Condition, Select},
    },
};

/// A collection that someone wants: what, of which target, how often.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectTask {
    /// Stable name of the pair of configuration and target; the name of its pipeline.
    pub key: String,
    /// Version of the whole, for people: what runs is decided by content alone.
    #[serde(default)]
    pub version: Option<Text>,
    /// What to run.
    pub config: CollectConfig,
    /// What to run it against.
    #[serde(default)]
    pub target: CollectTarget,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectConfig {
    /// Name of the configuration, for people.
    #[serde(default)]
    pub key: Option<String>,
    /// Version of the configuration, for people.
    #[serde(default)]
    pub version: Option<Text>,
    /// What the configuration is called, for people.
    #[serde(default)]
    pub name: Option<String>,
    /// Input that it collects.
    #[serde(default, alias = "type")]
    pub input: Option<String>,
    /// Pipeline of the agent's configuration whose samples it takes.
    #[serde(default)]
    pub from: Option<String>,
    /// When.
    #[serde(default, rename = "executeRule", alias = "execute_rule")]
    pub execute_rule: ExecuteRule,
    /// How long one collection may take.
    #[serde(default)]
    pub deadline: Option<Span>,
    /// Where its samples go.
    #[serde(default)]
    pub outputs: Option<Vec<String>>,
    /// Labels that come from the target's metadata, by label.
    #[serde(default, rename = "refMetas", alias = "ref_metas", deserialize_with = "unique")]
    pub ref_metas: BTreeMap<String, RefMeta>,
    /// What is computed of its samples: queries as SQL.
    #[serde(default)]
    pub sql: Option<Sql>,
    /// The same as data: the results of one query.
    #[serde(default)]
    pub select: Option<Vec<Select>>,
    /// Which samples that query takes.
    #[serde(default, rename = "where")]
    pub condition: Option<Condition>,
    /// Labels that its results keep.
    #[serde(default, rename = "groupBy", alias = "group_by")]
    pub group_by: Option<Vec<String>>,
    /// Span of time that it folds into one result.
    #[serde(default)]
    pub window: Option<Span>,
    /// What is done to its samples, or to what is computed of them.
    #[serde(default)]
    pub transform: Transform,
    /// The input's own settings.
    #[serde(default, deserialize_with = "unique")]
    pub options: BTreeMap<String, serde_json::Value>,
}

/// When a task is run: at multiples of a rate since the Unix epoch, plus an offset; without a rule, whenever it is
/// scraped.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecuteRule {
    /// The kind of rule.
    #[serde(default, rename = "type")]
    pub kind: RuleKind,
    /// Distance of the runs.
    #[serde(default, rename = "fixedRate", alias = "fixed_rate")]
    pub fixed_rate: Option<Span>,
    /// Their shift.
    #[serde(default)]
    pub offset: Option<Span>,
    /// Span over which tasks of the same rate are spread.
    #[serde(default)]
    pub spread: Option<Span>,
}

/// Kinds of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum RuleKind {
    /// Whenever it is scraped.
    #[default]
    #[serde(rename = "onScrape")]
    OnScrape,
    /// At a fixed rate.
    #[serde(rename = "fixedRate")]
    FixedRate,
}

/// What is done to the samples of a task, in the words of this agent and of the one whose tasks it takes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// Start of the names.
    #[serde(default, alias = "metricPrefix")]
    pub prefix: Option<String>,
    /// Pattern of the names, with `%s` for the raw one.
    #[serde(default, alias = "metricFormat")]
    pub format: Option<String>,
    /// Metrics to keep.
    #[serde(default, alias = "metricWhitelist", alias = "metricWhiteList")]
    pub allow: Vec<String>,
    /// Metrics to leave out.
    #[serde(default, alias = "metricBlacklist", alias = "metricBlackList")]
    pub deny: Vec<String>,
    /// Labels to add.
    #[serde(default, deserialize_with = "unique")]
    pub tags: BTreeMap<String, String>,
    /// What becomes of values, by raw name.
    #[serde(default, alias = "metricConfigs", deserialize_with = "unique")]
    pub values: BTreeMap<String, ValueConfig>,
    /// Metrics that are computed of others.
    #[serde(default)]
    pub derive: Vec<String>,
    /// Series that one metric may have.
    #[serde(default, alias = "maxSeries")]
    pub max_series: Option<u32>,
    /// Scripts of the other agent.
    #[serde(default)]
    pub scripts: Vec<serde_json::Value>,
}

/// What becomes of the values of a metric.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueConfig {
    /// Which.
    #[serde(default, alias = "valueManipulation")]
    pub manipulate: Manipulation,
    /// Whether a change below zero is kept.
    #[serde(default, alias = "keepNegative")]
    pub keep_negative: bool,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manipulation {
    /// Nothing.
    #[default]
    #[serde(alias = "GAUGE")]
    Gauge,
    /// Its change since the collection before.
    #[serde(alias = "DELTA")]
    Delta,
    /// Its change per second.
    #[serde(alias = "RATE")]
    Rate,
}

/// What a task is run against.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectTarget {
    /// Name of the target, for people.
    #[serde(default)]
    pub key: Option<String>,
    /// What it is.
    #[serde(default, rename = "type")]
    pub kind: TargetKind,
    /// Version of the target, for people.
    #[serde(default)]
    pub version: Option<Text>,
    /// What is known about it.
    #[serde(default, deserialize_with = "unique")]
    pub meta: BTreeMap<String, String>,
    /// Of a control group: its path below the root of control groups.
    #[serde(default)]
    pub path: Option<String>,
}

/// Kinds of targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// This host.
    #[default]
    Localhost,
    /// Nothing: the configuration says all.
    None,
    /// A pod.
    Pod,
    /// One container.
    Container,
    /// A control group.
    Cgroup,
}

/// The name of something in the target's metadata: `"app"` or `{"name": "app"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefMeta(pub String);

/// A length of time: milliseconds as a number, or a number and its unit as in `"5s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// Queries, written as SQL: a text, or an array of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Sql(pub Vec<QueryConfig>);

/// A text that may be written as a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for RefMeta {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RefMeta;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the name of something in the target's metadata, as \"app\" or {\"name\": \"app\"}",
                )
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<RefMeta, E> {
                Ok(RefMeta(name.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RefMeta, A::Error> {
                let mut name = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "name" {
                        return Err(de::Error::unknown_field(&key, &["name"]));
                    }
                    if name.replace(map.next_value()?).is_some() {
                        return Err(de::Error::duplicate_field("name"));
                    }
                }
                name.map(RefMeta).ok_or_else(|| de::Error::missing_field("name"))
            }
        }
        from.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("milliseconds, or a whole number and ms, s, m or h as in \"5s\"")
            }
            fn visit_u64<E: de::Error>(self, millis: u64) -> Result<Span, E> {
                Ok(Span(Duration::from_millis(millis)))
            }
            fn visit_i64<E: de::Error>(self, millis: i64) -> Result<Span, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Signed(millis), &self);
                u64::try_from(millis).map_err(wrong).and_then(|millis| self.visit_u64(millis))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
                parse_duration(text).map(Span).ok_or_else(wrong)
            }
        }
        from.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Sql {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Sql;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a query such as \"SELECT max(load1) AS load FROM loadavg\", or an array of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Sql, E> {
                let query = QueryConfig::from_sql(text);
                query.map(|query| Sql(vec![query])).map_err(|error| E::custom(in_text(&error)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Sql, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = texts.next_element::<String>()? {
                    all.push(
                        QueryConfig::from_sql(&text).map_err(|error| de::Error::custom(in_text(&error)))?,
                    );
                }
                if all.is_empty() {
                    return Err(de::Error::custom("`sql` must have at least one query"));
                }
                Ok(Sql(all))
            }
        }
        from.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a whole number")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
        }
        from.deserialize_any(Reader)
    }
}

/// A map in which no key comes twice.
fn unique<'de, D: Deserializer<'de>, V: Deserialize<'de>>(from: D) -> Result<BTreeMap<String, V>, D::Error> {
    struct Reader<V>(PhantomData<V>);
    impl<'de, V: Deserialize<'de>> Visitor<'de> for Reader<V> {
        type Value = BTreeMap<String, V>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = BTreeMap::new();
            while let Some((key, value)) = map.next_entry::<String, V>()? {
                if all.contains_key(&key) {
                    return Err(de::Error::custom(format!("`{key}` is given twice")));
                }
                all.insert(key, value);
            }
            Ok(all)
        }
    }
    from.deserialize_map(Reader(PhantomData))
}
