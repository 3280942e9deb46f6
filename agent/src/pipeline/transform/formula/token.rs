//! Words and signs of a formula.

/// What a formula is written in.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Number(f64),
    /// One of `+ - * / ( ) , =`.
    Sign(char),
}

/// A formula in tokens, each with the character that it begins at.
#[derive(Debug)]
pub(super) struct Tokens {
    list: Vec<(Token, usize)>,
    end: usize,
}

impl Tokens {
    /// Splits a text; the error is the character that has no meaning.
    pub(super) fn read(text: &str) -> Result<Self, usize> {
        let chars: Vec<char> = text.chars().collect();
        let (mut list, mut at) = (Vec::new(), 0);
        while let Some(&c) = chars.get(at) {
            let begin = at;
            let token = match c {
                c if c.is_whitespace() => {
                    at += 1;
                    continue;
                }
                '+' | '-' | '*' | '/' | '(' | ')' | ',' | '=' => {
                    at += 1;
                    Token::Sign(c)
                }
                c if c.is_ascii_alphabetic() || c == '_' || c == ':' => {
                    at += run(&chars[at..], |_, c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
                    Token::Name(chars[begin..at].iter().collect())
                }
                c if c.is_ascii_digit() || c == '.' => {
                    at += run(&chars[at..], |before, c| {
                        let exponent = matches!(before, Some('e' | 'E'));
                        c.is_ascii_digit() || ".eE".contains(c) || (exponent && "+-".contains(c))
                    });
                    let number: String = chars[begin..at].iter().collect();
                    let number = number.parse().ok().filter(|number: &f64| number.is_finite());
                    Token::Number(number.ok_or(begin)?)
                }
                _ => return Err(at),
            };
            list.push((token, begin));
        }
        Ok(Self { list, end: chars.len() })
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// A token, if there are so many.
    pub(super) fn get(&self, at: usize) -> Option<&Token> {
        self.list.get(at).map(|(token, _)| token)
    }

    /// Where a token begins, or where the text ends.
    pub(super) fn column(&self, at: usize) -> usize {
        self.list.get(at).map_or(self.end, |(_, column)| *column)
    }

    /// A name, and where it begins.
    pub(super) fn name(&self, at: usize) -> Option<(&str, usize)> {
        match self.list.get(at) {
            Some((Token::Name(name), column)) => Some((name, *column)),
            _ => None,
        }
    }

    pub(super) fn is(&self, at: usize, sign: char) -> bool {
        self.get(at) == Some(&Token::Sign(sign))
    }
}

/// How many characters belong together, each asked with the one before.
fn run(chars: &[char], mut belongs: impl FnMut(Option<char>, char) -> bool) -> usize {
    let mut before = None;
    chars.iter().take_while(|&&c| belongs(before.replace(c), c)).count()
}
