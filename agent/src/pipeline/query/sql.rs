//! SQL as another way to write a query.

use sqlparser::keywords::ALL_KEYWORDS;

/// Whether SQL takes the word for something else than a name.
pub(super) fn is_reserved(word: &str) -> bool {
    ALL_KEYWORDS.binary_search(&word.to_ascii_uppercase().as_str()).is_ok()
}
