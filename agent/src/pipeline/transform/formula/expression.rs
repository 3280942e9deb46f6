//! Expressions: `+ - * /` as usual, parentheses, numbers, names and a few functions.

use super::token::{Token, Tokens};
use crate::accumulator::{DEPTH, Op};

/// The most parentheses, functions and signs within each other.
const NESTING: usize = 16;
/// The most steps of one expression.
const STEPS: usize = 128;

const FUNCTIONS: [(&str, usize, Op); 4] =
    [("divide", 2, Op::Divide), ("min", 2, Op::Min), ("max", 2, Op::Max), ("abs", 1, Op::Absolute)];

/// Character, what is wrong, and what to do.
type Wrong = (usize, String, String);

/// Gives the variable of a name at a character.
type Variables<'a> = dyn FnMut(&str, usize) -> Result<u16, Wrong> + 'a;

/// A parser that writes the program as it goes.
pub(super) struct Expression<'a> {
    tokens: &'a Tokens,
    variables: &'a mut Variables<'a>,
    at: usize,
    nesting: usize,
    program: Vec<Op>,
    /// Values on the stack after the program so far.
    height: usize,
}

impl<'a> Expression<'a> {
    /// Compiles what follows a token.
    pub(super) fn parse(
        tokens: &'a Tokens,
        at: usize,
        variables: &'a mut Variables<'a>,
    ) -> Result<Vec<Op>, Wrong> {
        let mut this = Self { tokens, variables, at, nesting: 0, program: Vec::new(), height: 0 };
        this.sum()?;
        if this.at < tokens.len() {
            return Err(this.wrong("the expression ends before this", "put an operator between the two"));
        }
        Ok(this.program)
    }

    fn wrong(&self, what: &str, fix: &str) -> Wrong {
        (self.tokens.column(self.at), what.to_owned(), fix.to_owned())
    }

    fn emit(&mut self, op: Op) -> Result<(), Wrong> {
        self.height = match op {
            Op::Constant(_) | Op::Variable(_) => self.height + 1,
            Op::Absolute | Op::Negate => self.height,
            _ => self.height.saturating_sub(1),
        };
        if self.height > DEPTH || self.program.len() >= STEPS {
            return Err(self.wrong("the expression is too long", "split it into several formulas"));
        }
        self.program.push(op);
        Ok(())
    }

    fn take(&mut self, sign: char) -> bool {
        let is = self.tokens.is(self.at, sign);
        self.at += usize::from(is);
        is
    }

    fn sum(&mut self) -> Result<(), Wrong> {
        self.product()?;
        loop {
            let op = if self.take('+') {
                Op::Add
            } else if self.take('-') {
                Op::Subtract
            } else {
                return Ok(());
            };
            self.product()?;
            self.emit(op)?;
        }
    }

    fn product(&mut self) -> Result<(), Wrong> {
        self.factor()?;
        loop {
            let op = if self.take('*') {
                Op::Multiply
            } else if self.take('/') {
                Op::Over
            } else {
                return Ok(());
            };
            self.factor()?;
            self.emit(op)?;
        }
    }

    fn factor(&mut self) -> Result<(), Wrong> {
        self.nesting += 1;
        if self.nesting > NESTING {
            return Err(self.wrong("the expression is nested too deeply", "split it into several formulas"));
        }
        let column = self.tokens.column(self.at);
        if self.take('-') {
            self.factor()?;
            self.emit(Op::Negate)?;
        } else if self.take('(') {
            self.sum()?;
            self.close()?;
        } else {
            match self.tokens.get(self.at) {
                Some(Token::Number(number)) => {
                    self.at += 1;
                    self.emit(Op::Constant(*number))?;
                }
                Some(Token::Name(name)) if self.tokens.is(self.at + 1, '(') => self.call(name)?,
                Some(Token::Name(name)) => {
                    self.at += 1;
                    let variable = (self.variables)(name, column)?;
                    self.emit(Op::Variable(variable))?;
                }
                _ => return Err(self.wrong("a value is missing here", "write a name or a number")),
            }
        }
        self.nesting -= 1;
        Ok(())
    }

    fn call(&mut self, name: &str) -> Result<(), Wrong> {
        let Some(&(_, arguments, op)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            let known = FUNCTIONS.map(|(name, ..)| format!("`{name}`")).join(", ");
            return Err(self.wrong(&format!("there is no function `{name}`"), &format!("there are {known}")));
        };
        self.at += 2;
        for argument in 0..arguments {
            if argument > 0 && !self.take(',') {
                let what = format!("`{name}` takes {arguments} values");
                return Err(self.wrong(&what, "separate them by `,`"));
            }
            self.sum()?;
        }
        self.close()?;
        self.emit(op)
    }

    fn close(&mut self) -> Result<(), Wrong> {
        if self.take(')') {
            Ok(())
        } else {
            Err(self.wrong("a `)` is missing here", "close what was opened before"))
        }
    }
}
