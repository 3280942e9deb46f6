//! The condition of a query.

use super::{
    SqlError,
    cursor::{Cursor, Item},
};
use crate::pipeline::query::{Comparison, Condition, LabelList, LabelTest, ValueTest};

/// Parentheses and NOTs in each other; more is a mistake.
const DEEPEST: u32 = 64;

/// Reads all that follows WHERE.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Condition, SqlError> {
    or(cursor, 0)
}

fn or(cursor: &mut Cursor<'_>, depth: u32) -> Result<Condition, SqlError> {
    let mut all = vec![and(cursor, depth)?];
    while cursor.takes_word("OR") {
        all.push(and(cursor, depth)?);
    }
    Ok(one_or(all, Condition::Or))
}

fn and(cursor: &mut Cursor<'_>, depth: u32) -> Result<Condition, SqlError> {
    let mut all = vec![term(cursor, depth)?];
    while cursor.takes_word("AND") {
        all.push(term(cursor, depth)?);
    }
    Ok(one_or(all, Condition::And))
}

fn one_or(mut all: Vec<Condition>, several: fn(Vec<Condition>) -> Condition) -> Condition {
    if all.len() == 1 { all.remove(0) } else { several(all) }
}

fn term(cursor: &mut Cursor<'_>, depth: u32) -> Result<Condition, SqlError> {
    if depth > DEEPEST {
        return Err(cursor.unexpected("conditions are nested too deeply"));
    }
    if cursor.takes_word("NOT") {
        return Ok(not(term(cursor, depth + 1)?));
    }
    if cursor.takes(&Item::Open) {
        let inner = or(cursor, depth + 1)?;
        cursor.expect(&Item::Close, "a parenthesis is open")?;
        return Ok(inner);
    }
    if cursor.takes_word("value") {
        return value(cursor);
    }
    if let Item::Text(_) | Item::Number(_) | Item::Minus = cursor.peek() {
        return Err(cursor.unexpected("the label or `value` stands first, as in mode = 'idle'"));
    }
    let label = cursor.name("a label, `value` or a parenthesis")?;
    of_label(cursor, label)
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn value(cursor: &mut Cursor<'_>) -> Result<Condition, SqlError> {
    let comparison = match cursor.peek() {
        Item::Operator("<") => Comparison::Lt,
        Item::Operator("<=") => Comparison::Lte,
        Item::Operator(">") => Comparison::Gt,
        Item::Operator(">=") => Comparison::Gte,
        _ => return Err(cursor.unexpected("a value is compared by <, <=, > or >=")),
    };
    cursor.advance();
    let start = cursor.here();
    let negative = cursor.takes(&Item::Minus);
    let number = match cursor.peek() {
        Item::Number(number) => number.parse::<f64>().ok().filter(|number| number.is_finite()),
        _ => None,
    };
    let Some(number) = number else {
        return Err(cursor.error_at(start, "a value is compared with a number"));
    };
    cursor.advance();
    if let Item::Word(word, false) = cursor.peek()
        && super::spelled("1", word).is_some()
    {
        return Err(cursor.unexpected("values are in base units, and numbers have no unit"));
    }
    let than = if negative { -number } else { number };
    Ok(Condition::Value(ValueTest { is: comparison, than }))
}

fn of_label(cursor: &mut Cursor<'_>, label: String) -> Result<Condition, SqlError> {
    let negated = cursor.takes_word("NOT");
    let wrap = |condition: Condition| if negated { not(condition) } else { condition };
    if cursor.takes_word("LIKE") {
        return Ok(wrap(Condition::Like(test(cursor, label)?)));
    }
    if cursor.takes_word("GLOB") {
        return Ok(wrap(Condition::Glob(test(cursor, label)?)));
    }
    if cursor.takes_word("IN") {
        return Ok(wrap(Condition::In(list(cursor, label)?)));
    }
    if negated {
        return Err(cursor.unexpected("after NOT comes LIKE, GLOB or IN"));
    }
    let operator = match cursor.peek() {
        Item::Operator(operator @ ("=" | "!=" | "~" | "!~")) => *operator,
        Item::Operator(_) => {
            return Err(cursor.unexpected("labels are texts; only `value` is compared with numbers"));
        }
        Item::Word(word, false) if word.eq_ignore_ascii_case("IS") => {
            let hint = format!("a label that is missing is empty: {label} = ''");
            return Err(cursor.error_at(cursor.here(), format!("IS is not supported: {hint}")));
        }
        Item::Word(word, false)
            if ["ILIKE", "RLIKE", "REGEXP", "SIMILAR"].iter().any(|w| word.eq_ignore_ascii_case(w)) =>
        {
            let message = format!("{word} is not supported: {label} ~ '(?i)x' is a regular expression");
            return Err(cursor.error_at(cursor.here(), message));
        }
        _ => return Err(cursor.unexpected("a label is tested by =, !=, ~, !~, LIKE, GLOB or IN")),
    };
    cursor.advance();
    let test = test(cursor, label)?;
    Ok(match operator {
        "=" => Condition::Equals(test),
        "!=" => not(Condition::Equals(test)),
        "~" => Condition::Regex(test),
        _ => not(Condition::Regex(test)),
    })
}

fn text(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    match cursor.peek() {
        Item::Text(text) => {
            let text = text.clone();
            cursor.advance();
            Ok(text)
        }
        Item::Word(word, _) => {
            let message = format!("a text stands in single quotes: '{}'", word.replace('\'', "''"));
            Err(cursor.error_at(cursor.here(), message))
        }
        Item::Number(number) => {
            let message = format!("labels are texts, which stand in single quotes: '{number}'");
            Err(cursor.error_at(cursor.here(), message))
        }
        _ => Err(cursor.unexpected("here stands a text in single quotes")),
    }
}

fn test(cursor: &mut Cursor<'_>, label: String) -> Result<LabelTest, SqlError> {
    Ok(LabelTest { label, to: text(cursor)? })
}

fn list(cursor: &mut Cursor<'_>, label: String) -> Result<LabelList, SqlError> {
    cursor.expect(&Item::Open, "after IN come texts in parentheses")?;
    let mut to = vec![text(cursor)?];
    while cursor.takes(&Item::Comma) {
        to.push(text(cursor)?);
    }
    cursor.expect(&Item::Close, "a parenthesis is open")?;
    Ok(LabelList { label, to })
}
