//! "Did you mean": the known word that a mistyped one resembles most.

/// The candidate nearest to the name, if one is near enough to be what was meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong; in a short word, one.
    let allowed = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The end of a message about an unknown name: a suggestion, or else the given way on.
pub(crate) fn hint<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    otherwise: impl FnOnce() -> String,
) -> String {
    match nearest(name, candidates) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => otherwise(),
    }
}

/// The names of a list, for people.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What to say of an input that is none of these.
pub fn unknown_input<'a>(name: &str, inputs: impl IntoIterator<Item = &'a str>) -> String {
    let hint = hint(name, inputs, || "`pitot inputs` lists them".into());
    format!("unknown input `{name}`: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_resembles_is_suggested() {
        assert_eq!(nearest("intervall", ["offset", "interval"]), Some("interval"));
        assert_eq!(nearest("dney", ["allow", "deny"]), Some("deny"));
        assert_eq!(nearest("frequency", ["offset", "interval"]), None);
        assert_eq!(nearest("", ["a"]), Some("a"));
    }
}
