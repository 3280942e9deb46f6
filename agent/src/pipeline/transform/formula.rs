//! Formulas as they are written, compiled to what the accumulator computes.

mod expression;
mod token;

use std::collections::{HashMap, HashSet};

use self::{expression::Expression, token::Tokens};
use crate::accumulator::{Formula, Formulas};

/// The most statements of a pipeline.
pub(super) const STATEMENTS: usize = 64;

/// What is wrong with a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    /// Which statement, from 0.
    pub(super) statement: usize,
    /// Which character of it, from 0.
    pub(super) column: usize,
    pub(super) what: String,
    pub(super) fix: String,
}

/// All statements of a pipeline.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    formulas: Formulas,
    /// Raw names, and the variables that they are.
    inputs: HashMap<String, u16>,
    /// Raw names that are not published.
    hidden: HashSet<String>,
    /// Raw names, and what they are called outside.
    renamed: HashMap<String, String>,
    /// Where raw names are first read: statement and character.
    read: Vec<(String, usize, usize)>,
}

/// What the statements make of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Role<'a> {
    /// Another name.
    pub(super) name: Option<&'a str>,
    pub(super) hidden: bool,
    pub(super) variable: Option<u16>,
}

/// What a name means after the statements so far.
#[derive(Clone, Debug, PartialEq)]
enum Meaning {
    /// The result of a formula.
    Result(usize),
    /// The series of this raw name.
    Raw(String),
    /// Nothing any more.
    Gone,
}

impl Script {
    /// Compiles statements. Those that are wrong have no effect, and are told.
    pub(super) fn new(statements: &[String]) -> (Self, Vec<Error>) {
        let mut compiler = Compiler::default();
        let mut errors = Vec::new();
        for (at, text) in statements.iter().enumerate() {
            compiler.statement = at;
            if at >= STATEMENTS {
                let what = format!("there are more than {STATEMENTS} statements");
                errors.push(compiler.error(0, what, "split the pipeline"));
                break;
            }
            if let Err(error) = compiler.statement(text) {
                errors.push(error);
            }
        }
        (compiler.script, errors)
    }

    /// The formulas, if there are any.
    pub(super) fn formulas(&self) -> Option<&Formulas> {
        (!self.formulas.list.is_empty()).then_some(&self.formulas)
    }

    /// Names of what formulas compute.
    pub(super) fn results(&self) -> impl Iterator<Item = &str> {
        self.formulas.list.iter().map(|formula| formula.name.as_str())
    }

    /// What becomes of the series of a raw name.
    pub(super) fn role(&self, raw: &str) -> Role<'_> {
        Role {
            name: self.renamed.get(raw).map(String::as_str),
            hidden: self.hidden.contains(raw),
            variable: self.inputs.get(raw).copied(),
        }
    }

    /// Raw names that statements speak of, each with statement and character.
    pub(super) fn read(&self) -> &[(String, usize, usize)] {
        &self.read
    }
}

#[derive(Default)]
struct Compiler {
    script: Script,
    names: HashMap<String, Meaning>,
    statement: usize,
}

impl Compiler {
    fn error(&self, column: usize, what: impl Into<String>, fix: impl Into<String>) -> Error {
        Error { statement: self.statement, column, what: what.into(), fix: fix.into() }
    }

    fn statement(&mut self, text: &str) -> Result<(), Error> {
        let tokens = Tokens::read(text).map_err(|column| {
            let found = text.chars().nth(column).unwrap_or(' ');
            self.error(
                column,
                format!("`{found}` has no meaning here"),
                "a formula takes names, numbers, `+ - * / ( ) ,` and one `=`",
            )
        })?;
        let fix = "write `NAME = EXPRESSION`, `drop NAME` or `rename NAME NAME`; `tags` adds labels";
        let Some((first, column)) = tokens.name(0) else {
            return Err(self.error(0, "a statement begins with a name", fix));
        };
        if tokens.is(1, '=') {
            return self.assign(first, column, &tokens, text);
        }
        match (first, tokens.name(1), tokens.name(2), tokens.len()) {
            ("drop", Some((name, column)), None, 2) => self.drop(name, column),
            ("rename", Some(from), Some(to), 3) => self.rename(from, to),
            _ => Err(self.error(column, "this is no statement", fix)),
        }
    }

    fn assign(&mut self, name: &str, column: usize, tokens: &Tokens, text: &str) -> Result<(), Error> {
        self.may_be_computed(name, column)?;
        let parsed = Expression::parse(tokens, 2, &mut |name, column| self.variable(name, column));
        let program = parsed.map_err(|(column, what, fix)| self.error(column, what, fix))?;
        let target = self.next_variable();
        // What had this name is only there to compute from now.
        match self.names.get(name).cloned() {
            Some(Meaning::Result(earlier)) => self.script.formulas.list[earlier].hidden = true,
            Some(Meaning::Raw(raw)) => drop(self.script.hidden.insert(raw)),
            Some(Meaning::Gone) => {}
            None => drop(self.script.hidden.insert(name.to_owned())),
        }
        self.names.insert(name.to_owned(), Meaning::Result(self.script.formulas.list.len()));
        self.script.formulas.list.push(Formula {
            name: name.to_owned(),
            target,
            program,
            text: text.trim().to_owned(),
            hidden: false,
        });
        Ok(())
    }

    fn drop(&mut self, name: &str, column: usize) -> Result<(), Error> {
        match self.meaning(name, column)? {
            Meaning::Result(at) => self.script.formulas.list[at].hidden = true,
            Meaning::Raw(raw) => drop(self.script.hidden.insert(raw)),
            Meaning::Gone => {}
        }
        self.names.insert(name.to_owned(), Meaning::Gone);
        Ok(())
    }

    fn rename(&mut self, from: (&str, usize), to: (&str, usize)) -> Result<(), Error> {
        if self.names.get(to.0).is_some_and(|meaning| *meaning != Meaning::Gone) {
            let what = format!("there is a metric `{}` already", to.0);
            return Err(self.error(to.1, what, "drop it first, or take another name"));
        }
        let meaning = self.meaning(from.0, from.1)?;
        match &meaning {
            Meaning::Result(at) => {
                self.may_be_computed(to.0, to.1)?;
                to.0.clone_into(&mut self.script.formulas.list[*at].name);
            }
            Meaning::Raw(raw) => {
                self.script.renamed.insert(raw.clone(), to.0.to_owned());
            }
            Meaning::Gone => {}
        }
        self.names.insert(from.0.to_owned(), Meaning::Gone);
        self.names.insert(to.0.to_owned(), meaning);
        Ok(())
    }

    /// What comes out of a formula is a gauge.
    fn may_be_computed(&self, name: &str, column: usize) -> Result<(), Error> {
        if name.ends_with("_total") {
            let what = format!("`{name}` is computed, which makes it a gauge: only counters end in `_total`");
            return Err(self.error(column, what, "take another name"));
        }
        Ok(())
    }

    /// What a name means here.
    fn meaning(&mut self, name: &str, column: usize) -> Result<Meaning, Error> {
        match self.names.get(name) {
            Some(Meaning::Gone) => {
                let what = format!("`{name}` was dropped or renamed before");
                Err(self.error(column, what, "move this statement up, or use its new name"))
            }
            Some(known) => Ok(known.clone()),
            None => {
                self.script.read.push((name.to_owned(), self.statement, column));
                let raw = Meaning::Raw(name.to_owned());
                self.names.insert(name.to_owned(), raw.clone());
                Ok(raw)
            }
        }
    }

    fn variable(&mut self, name: &str, column: usize) -> Result<u16, (usize, String, String)> {
        match self.meaning(name, column).map_err(|error| (error.column, error.what, error.fix))? {
            Meaning::Result(at) => Ok(self.script.formulas.list[at].target),
            Meaning::Raw(raw) => {
                if let Some(&known) = self.script.inputs.get(&raw) {
                    return Ok(known);
                }
                let variable = self.next_variable();
                self.script.inputs.insert(raw, variable);
                Ok(variable)
            }
            Meaning::Gone => Err((column, format!("`{name}` is gone"), "use its new name".into())),
        }
    }

    /// Statements are few and short: their variables can be counted.
    fn next_variable(&mut self) -> u16 {
        let variable = self.script.formulas.variables;
        self.script.formulas.variables = variable.saturating_add(1);
        variable
    }
}
