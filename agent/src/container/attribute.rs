//! What a pod says of itself beside its name.

use std::str::FromStr;

use super::Pod;

/// Something that a pod says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Its label of that name.
    Label(String),
    /// Its annotation of that name.
    Annotation(String),
}

impl FromStr for Attribute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("label", name)) if !name.is_empty() => Ok(Self::Label(name.to_owned())),
            Some(("annotation", name)) if !name.is_empty() => Ok(Self::Annotation(name.to_owned())),
            _ => Err(format!(
                "`{text}` is no attribute of a pod: it takes `label:NAME` or `annotation:NAME`, as in \"label:team\""
            )),
        }
    }
}

impl Attribute {
    /// What it is of this pod.
    pub fn of<'p>(&self, pod: &'p Pod) -> Option<&'p str> {
        match self {
            Self::Label(name) => pod.labels.get(name),
            Self::Annotation(name) => pod.annotations.get(name),
        }
        .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_a_kind_and_a_name() {
        assert_eq!("label:team".parse(), Ok(Attribute::Label("team".to_owned())));
        assert_eq!("annotation:a/b:c".parse(), Ok(Attribute::Annotation("a/b:c".to_owned())));
        for wrong in ["team", "labels.team", "label:", ":team"] {
            assert!(wrong.parse::<Attribute>().is_err(), "{wrong}");
        }
    }
}
