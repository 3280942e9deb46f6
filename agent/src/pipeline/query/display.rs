//! A query as SQL.

use std::fmt;

use super::{
    Comparison, Condition, Of, QueryConfig, Select,
    condition::{LabelTest, ValueTest},
};
use crate::{catalogue::Metric, config::written_duration};

impl fmt::Display for QueryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SELECT ")?;
        separated(f, ", ", &self.select, |f, select| write!(f, "{select} AS {}", Name(&select.name)))?;
        write!(f, " FROM {}", Name(&self.from))?;
        self.tail(f)
    }
}

impl QueryConfig {
    /// The clauses after FROM.
    fn tail(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        if let Some(condition) = &self.condition {
            write!(f, " WHERE {condition}")?;
        }
        if !self.group_by.is_empty() {
            f.write_str(" GROUP BY ")?;
            separated(f, ", ", &self.group_by, |f, label| write!(f, "{}", Name(label)))?;
        }
        if let Some(window) = self.window {
            write!(f, " WINDOW {}", written_duration(window))?;
        }
        Ok(())
    }

    /// What is said of a result.
    pub(super) fn help(&self, select: &Select, metric: &Metric) -> String {
        let mut text = select.to_string();
        // Writing to a string does not fail.
        let _ = self.tail(&mut text);
        format!("{text}. {}", metric.help)
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = if self.over.is_some() { "_over" } else { "" };
        write!(f, "{}{over}(", self.agg)?;
        let metric = Name(&self.metric);
        match self.of {
            Of::Value => write!(f, "{metric}")?,
            Of::Rate => write!(f, "rate({metric})")?,
            Of::Delta => write!(f, "delta({metric})")?,
        }
        match self.over {
            Some(over) => write!(f, ", {})", written_duration(over)),
            None => f.write_str(")"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let test = |f: &mut fmt::Formatter<'_>, LabelTest { label, to }: &LabelTest, operator| {
            write!(f, "{} {operator} {}", Name(label), Text(to))
        };
        match self {
            Self::And(all) => separated(f, " AND ", all, |f, one| match one {
                Self::Or(_) | Self::And(_) => write!(f, "({one})"),
                _ => write!(f, "{one}"),
            }),
            Self::Or(all) => separated(f, " OR ", all, |f, one| match one {
                Self::Or(_) => write!(f, "({one})"),
                _ => write!(f, "{one}"),
            }),
            Self::Not(one) => match &**one {
                Self::Equals(equals) => test(f, equals, "!="),
                other => write!(f, "NOT ({other})"),
            },
            Self::Equals(equals) => test(f, equals, "="),
            Self::Like(like) => test(f, like, "LIKE"),
            Self::Glob(glob) => test(f, glob, "GLOB"),
            Self::Regex(regex) => test(f, regex, "~"),
            Self::In(list) => {
                write!(f, "{} IN (", Name(&list.label))?;
                separated(f, ", ", &list.to, |f, text| write!(f, "{}", Text(text)))?;
                f.write_str(")")
            }
            Self::Value(ValueTest { is, than }) => write!(f, "value {is} {than}"),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lt => "<",
            Self::Lte => "<=",
            Self::Gt => ">",
            Self::Gte => ">=",
        })
    }
}

/// A name, in quotes unless it is plain.
struct Name<'n>(&'n str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let word = !self.0.is_empty()
            && self.0.chars().all(plain)
            && !self.0.starts_with(|c: char| c.is_ascii_digit());
        if word && !super::sql::is_reserved(self.0) {
            return f.write_str(self.0);
        }
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A text in quotes.
struct Text<'t>(&'t str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\'', "''"))
    }
}

fn separated<F: fmt::Write + ?Sized, T>(
    f: &mut F,
    by: &str,
    items: &[T],
    mut each: impl FnMut(&mut F, &T) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(by)?;
        }
        each(f, item)?;
    }
    Ok(())
}
