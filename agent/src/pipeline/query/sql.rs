//! SQL as another way to write a query.
//!
//! The tokens are those of `sqlparser`. Its grammar is not used: it takes all of SQL, of which all but a little
//! would have to be refused again, and it has no place for `WINDOW 10s`. What is not taken is refused where it
//! stands, with what would do instead.

mod condition;
mod cursor;

use super::{Aggregate, Of, QueryConfig, Select};
use crate::config::parse_duration;
use cursor::{Cursor, Item};

/// Words that are no names unless they are quoted.
const RESERVED: [&str; 20] = [
    "select", "from", "where", "group", "by", "window", "as", "and", "or", "not", "in", "like", "glob",
    "value", "having", "order", "limit", "between", "is", "distinct",
];

/// Clauses in their order.
const CLAUSES: [&str; 5] = ["SELECT", "FROM", "WHERE", "GROUP", "WINDOW"];

/// Other clauses and words of SQL, and what to do instead.
const REFUSED: [(&str, &str); 17] = [
    ("HAVING", "test `value` in WHERE, or the results in the query of another pipeline"),
    ("ORDER", "results are series, which have no order"),
    ("LIMIT", "results are series, which have no order; the pipeline's `max_series` bounds their number"),
    ("OFFSET", "results are series, which have no order"),
    ("FETCH", "results are series, which have no order"),
    ("JOIN", "a query has one source; let a pipeline of its own put things together"),
    ("INNER", "a query has one source; let a pipeline of its own put things together"),
    ("LEFT", "a query has one source; let a pipeline of its own put things together"),
    ("UNION", "a query is one SELECT; name several results in it"),
    ("EXCEPT", "a query is one SELECT; say it in WHERE"),
    ("INTERSECT", "a query is one SELECT; say it in WHERE"),
    ("WITH", "a query is one SELECT; let it take from the pipeline of another one"),
    ("DISTINCT", "series are distinct by themselves"),
    ("OVER", "say it as in max_over(x, 60s)"),
    ("FILTER", "say it in WHERE"),
    ("CASE", "results are aggregates of metrics, as in `sum(x) AS y`"),
    ("AS", "a source has no other name here"),
];

/// Whether a name must be quoted.
pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word.to_ascii_lowercase().as_str())
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct SqlError {
    /// Byte in the text.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl QueryConfig {
    /// Reads a query such as `SELECT sum(x) AS y FROM input WHERE a = 'b' GROUP BY c WINDOW 10s`.
    ///
    /// `SELECT rate(x)` is `SELECT sum(rate(x))`, and so for `delta`. A semicolon may end it. Names with other
    /// characters than letters, digits and `_` stand in double quotes, texts in single ones.
    pub fn from_sql(text: &str) -> Result<Self, SqlError> {
        let mut cursor = Cursor::new(text)?;
        cursor.clause("SELECT", "a query begins with SELECT")?;
        let mut query = Self {
            from: String::new(),
            select: Vec::new(),
            condition: None,
            group_by: Vec::new(),
            window: None,
        };
        loop {
            query.select.push(select(&mut cursor)?);
            if !cursor.takes(&Item::Comma) {
                break;
            }
        }
        cursor.clause("FROM", "after the results comes FROM and their source")?;
        query.from = cursor.name("the input or pipeline to take from")?;
        if cursor.takes_word("WHERE") {
            query.condition = Some(condition::read(&mut cursor)?);
        }
        if cursor.takes_word("GROUP") {
            cursor.clause("BY", "after GROUP comes BY")?;
            loop {
                query.group_by.push(cursor.name("a label")?);
                if !cursor.takes(&Item::Comma) {
                    break;
                }
            }
        }
        if cursor.takes_word("WINDOW") {
            query.window = Some(cursor.span()?);
        }
        cursor.takes(&Item::Semicolon);
        match cursor.peek() {
            Item::End => Ok(query),
            _ => Err(cursor.unexpected("nothing more can stand here")),
        }
    }
}

/// `agg(x) AS name`
fn select(cursor: &mut Cursor<'_>) -> Result<Select, SqlError> {
    let start = cursor.here();
    if matches!(cursor.peek(), Item::Star) {
        return Err(cursor.error_at(start, "name the results one by one, as in `sum(x) AS y`"));
    }
    let word = cursor.name("an aggregate, as in `sum(x) AS y`")?;
    if !cursor.takes(&Item::Open) {
        let message =
            format!("say what is computed of `{word}`, as in `sum({word}) AS y` or `last({word}) AS y`");
        return Err(cursor.error_at(start, message));
    }
    let (agg, rolling, fixed) = function(cursor, start, &word)?;
    let (of, metric) = match fixed {
        Some(of) => (of, metric(cursor)?),
        None => inner(cursor)?,
    };
    let over = if rolling {
        cursor.expect(&Item::Comma, "it takes a span of time, as in `max_over(x, 60s)`")?;
        Some(cursor.span()?)
    } else {
        None
    };
    if matches!(cursor.peek(), Item::Comma) {
        return Err(
            cursor.unexpected("it takes one metric; only max_over and min_over take a span of time too")
        );
    }
    cursor.expect(&Item::Close, "a parenthesis is open")?;
    if matches!(cursor.peek(), Item::Operator(_) | Item::Star) {
        return Err(cursor.unexpected("results are not calculated with; derive a metric from them instead"));
    }
    if !cursor.takes_word("AS") {
        return Err(cursor.unexpected("the result needs a name, as in `sum(x) AS y`"));
    }
    let name = cursor.name("the name of the result")?;
    Ok(Select { metric, name, agg, of, over })
}

/// The aggregate that a function stands for, whether it is rolling, and what it folds if the function says that.
fn function(
    cursor: &Cursor<'_>,
    start: usize,
    word: &str,
) -> Result<(Aggregate, bool, Option<Of>), SqlError> {
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "rate" => return Ok((Aggregate::Sum, false, Some(Of::Rate))),
        "delta" => return Ok((Aggregate::Sum, false, Some(Of::Delta))),
        "max_over" => return Ok((Aggregate::Max, true, None)),
        "min_over" => return Ok((Aggregate::Min, true, None)),
        _ => {}
    }
    if let Some(aggregate) = Aggregate::named(&lower) {
        return Ok((aggregate, false, None));
    }
    let known = Aggregate::WORDS.into_iter().chain(["rate", "delta", "max_over", "min_over"]);
    let all: Vec<&str> = known.collect();
    let meant = match lower.as_str() {
        "mean" | "average" => Some("avg"),
        "increase" | "idelta" => Some("delta"),
        "irate" | "derivative" => Some("rate"),
        "latest" | "first" => Some("last"),
        "median" => Some("p50"),
        _ => crate::config::suggest::nearest(&lower, all.iter().copied()),
    };
    let hint = meant
        .map_or_else(|| format!("there are {}", all.join(", ")), |word| format!("did you mean `{word}`?"));
    Err(cursor.error_at(start, format!("there is no function `{word}`: {hint}")))
}

/// A metric, or `rate` or `delta` of one.
fn inner(cursor: &mut Cursor<'_>) -> Result<(Of, String), SqlError> {
    let start = cursor.here();
    if matches!(cursor.peek(), Item::Star) {
        return Err(cursor.error_at(start, "name the metric whose values are meant"));
    }
    let word = cursor.name("a metric, or rate() or delta() of one")?;
    if !cursor.takes(&Item::Open) {
        return Ok((Of::Value, word));
    }
    let of = match word.to_ascii_lowercase().as_str() {
        "rate" => Of::Rate,
        "delta" => Of::Delta,
        _ => {
            let message = format!("only rate() and delta() can stand inside an aggregate, not {word}()");
            return Err(cursor.error_at(start, message));
        }
    };
    let metric = metric(cursor)?;
    cursor.expect(&Item::Close, "a parenthesis is open")?;
    Ok((of, metric))
}

fn metric(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    let start = cursor.here();
    let metric = cursor.name("a metric")?;
    if matches!(cursor.peek(), Item::Open) {
        return Err(cursor
            .error_at(start, format!("only a metric can stand inside rate() or delta(), not {metric}()")));
    }
    Ok(metric)
}

/// What a word means that stands where it cannot.
fn refused(word: &str) -> Option<String> {
    let upper = word.to_ascii_uppercase();
    if let Some((_, hint)) = REFUSED.iter().find(|(refused, _)| *refused == upper) {
        return Some(format!("{upper} is not supported: {hint}"));
    }
    if CLAUSES.contains(&upper.as_str()) {
        return Some(format!(
            "{upper} is out of its place: the order is SELECT, FROM, WHERE, GROUP BY, WINDOW"
        ));
    }
    let near = crate::config::suggest::nearest(&upper, CLAUSES)?;
    Some(format!("`{word}` has no meaning here: did you mean {near}?"))
}

/// A span of time from a number and the word that follows it without a space.
fn spelled(number: &str, unit: &str) -> Option<std::time::Duration> {
    parse_duration(&format!("{number}{unit}"))
}
