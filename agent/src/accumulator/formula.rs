//! Formulas: metrics that are computed from others of the same labels, as small postfix programs.
//!
//! A missing value is NaN on the stack and stays one through every operation but [`Op::Divide`], so a result is
//! published exactly when everything that it needs was there.

/// The most values that a program may need at a time.
pub const DEPTH: usize = 32;

/// One step of a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// Puts a number on the stack.
    Constant(f64),
    /// Puts a variable on the stack.
    Variable(u16),
    /// Sum of the upper two.
    Add,
    /// Difference.
    Subtract,
    /// Product.
    Multiply,
    /// Quotient; missing when the divisor is zero.
    Over,
    /// Quotient; 0 when the divisor is zero or missing.
    Divide,
    /// The smaller one.
    Min,
    /// The larger one.
    Max,
    /// Without its sign.
    Absolute,
    /// With the other sign.
    Negate,
}

/// A metric that is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    /// Raw name of the result.
    pub name: String,
    /// Variable that takes the result, for later formulas.
    pub target: u16,
    /// The program: it leaves one value, and never needs more than [`DEPTH`].
    pub program: Vec<Op>,
    /// How it was written.
    pub text: String,
    /// It is only there to compute from.
    pub hidden: bool,
}

/// All formulas of a pipeline, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Formulas {
    /// How many variables they have together.
    pub variables: u16,
    /// The formulas.
    pub list: Vec<Formula>,
}

/// Runs a program. Nothing when something is missing, or the result is no finite number.
pub fn evaluate(program: &[Op], variable: impl Fn(u16) -> Option<f64>) -> Option<f64> {
    let mut stack = [f64::NAN; DEPTH];
    let mut top = 0usize;
    for op in program {
        let result = match *op {
            Op::Constant(value) => {
                top += 1;
                value
            }
            Op::Variable(index) => {
                top += 1;
                variable(index).unwrap_or(f64::NAN)
            }
            Op::Absolute => stack.get(top.checked_sub(1)?)?.abs(),
            Op::Negate => -*stack.get(top.checked_sub(1)?)?,
            _ => {
                top = top.checked_sub(1)?;
                binary(*op, *stack.get(top.checked_sub(1)?)?, *stack.get(top)?)
            }
        };
        *stack.get_mut(top.checked_sub(1)?)? = result;
    }
    (top == 1 && stack[0].is_finite()).then_some(stack[0])
}

fn binary(op: Op, a: f64, b: f64) -> f64 {
    let missing = a.is_nan() || b.is_nan();
    match op {
        Op::Add => a + b,
        Op::Subtract => a - b,
        Op::Multiply => a * b,
        Op::Over if b == 0.0 => f64::NAN,
        Op::Divide if !a.is_nan() && (b == 0.0 || b.is_nan()) => 0.0,
        Op::Over | Op::Divide => a / b,
        Op::Min if !missing => a.min(b),
        Op::Max if !missing => a.max(b),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_spreads_but_for_a_divisor_that_is_told_to_be_zero() {
        let known = |index| [Some(6.0), Some(0.0), None].get(usize::from(index)).copied().flatten();
        let run = |op| {
            [(0, 0), (0, 1), (0, 2), (2, 0)]
                .map(|(a, b)| evaluate(&[Op::Variable(a), Op::Variable(b), op], known))
        };
        assert_eq!(run(Op::Over), [Some(1.0), None, None, None]);
        assert_eq!(run(Op::Divide), [Some(1.0), Some(0.0), Some(0.0), None]);
        assert_eq!(run(Op::Add), [Some(12.0), Some(6.0), None, None]);
        assert_eq!(run(Op::Min), [Some(6.0), Some(0.0), None, None]);
        assert_eq!(run(Op::Max), [Some(6.0), Some(6.0), None, None]);
    }

    #[test]
    fn what_is_no_program_gives_nothing() {
        for program in [&[][..], &[Op::Add], &[Op::Constant(1.0), Op::Add], &[Op::Negate]] {
            assert_eq!(evaluate(program, |_| None), None);
        }
        assert_eq!(evaluate(&[Op::Constant(1.0); 2], |_| None), None);
        assert_eq!(evaluate(&[Op::Constant(1.0); DEPTH + 1], |_| None), None);
        assert_eq!(evaluate(&[Op::Constant(f64::MAX), Op::Constant(2.0), Op::Multiply], |_| None), None);
    }
}
