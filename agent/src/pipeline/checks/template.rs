//! Texts with places for what is known of a target, as in `http://127.0.0.1:{annotation:prometheus.io/port|8080}/`.
//!
//! What stands between braces is one of [`WORDS`], and behind a bar what stands for it where the target has nothing;
//! `{{` is a brace. Values come from whoever made the pod, so they are bounded and have no control characters; what
//! they mean is up to the parsers of the checks.

use super::selector::{annotation, label};
use crate::{
    config::suggest::{hint, listed},
    container::Container,
};

/// What may stand between braces.
pub const WORDS: [&str; 9] =
    ["namespace", "pod", "container", "ip", "image", "app", "hostname", "label:NAME", "annotation:NAME"];

/// The longest value that is taken of a target.
const LONGEST: usize = 256;

/// A text with places for what is known of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place { field: Field, or: Option<String> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Namespace,
    Pod,
    Container,
    Ip,
    Image,
    /// What the pod belongs to, by the labels that say so.
    App,
    /// Host name of the pod.
    Hostname,
    Label(String),
    Annotation(String),
}

/// What is wrong with a template, and at which byte of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Where.
    pub offset: usize,
    /// What, and what to do about it.
    pub message: String,
}

impl Template {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('{') {
                plain.push('{');
                rest = after;
                continue;
            }
            let offset = text.len() - after.len() - 1;
            let at = |message: String| TemplateError { offset, message };
            let Some((inside, after)) = after.split_once('}') else {
                return Err(at(
                    "`{` is not closed: write `{pod}` for the name of the pod, or `{{` for a brace".into(),
                ));
            };
            let (word, or) = match inside.split_once('|') {
                Some((word, or)) => (word, Some(or.to_owned())),
                None => (inside, None),
            };
            let field = Field::of(word).map_err(at)?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Place { field, or });
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The first place of a text that would be one if it were a template.
    pub fn first_place(text: &str) -> Option<usize> {
        let mut places = text.match_indices('{').map(|(at, _)| at);
        places.find(|&at| {
            let inside = text.get(at + 1..).and_then(|after| Some(after.split_once('}')?.0));
            let word = inside.map(|inside| inside.split_once('|').map_or(inside, |(word, _)| word));
            word.is_some_and(|word| Field::of(word).is_ok())
        })
    }

    /// Whether it is the same for all targets.
    pub fn is_plain(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The text for a target, or what it lacks. The host itself has nothing that could be asked for.
    pub fn expand(&self, container: Option<&Container>) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Place { field, or } => {
                    let value = container.and_then(|container| field.value(container));
                    match (value.filter(|value| !value.is_empty()), or) {
                        (Some(value), _) => out.push_str(checked(field, value)?),
                        (None, Some(or)) => out.push_str(or),
                        (None, None) => return Err(format!("the target has no {}", field.name())),
                    }
                }
            }
        }
        Ok(out)
    }
}

fn checked<'v>(field: &Field, value: &'v str) -> Result<&'v str, String> {
    if value.len() > LONGEST {
        return Err(format!("the {} of the target is longer than {LONGEST} bytes", field.name()));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("the {} of the target has control characters", field.name()));
    }
    Ok(value)
}

impl Field {
    fn of(word: &str) -> Result<Self, String> {
        Ok(match word.split_once(':') {
            Some(("label", name)) if !name.is_empty() => Self::Label(name.to_owned()),
            Some(("annotation", name)) if !name.is_empty() => Self::Annotation(name.to_owned()),
            Some(("label" | "annotation", _)) => {
                return Err(format!("`{{{word}}}` names nothing: write it as `{{label:app}}`"));
            }
            _ => match word {
                "namespace" => Self::Namespace,
                "pod" => Self::Pod,
                "container" => Self::Container,
                "ip" => Self::Ip,
                "image" => Self::Image,
                "app" => Self::App,
                "hostname" => Self::Hostname,
                _ => {
                    let stem = word.split(':').next().unwrap_or(word);
                    let known = WORDS.map(|known| known.trim_end_matches(":NAME"));
                    let way = hint(stem, known, || format!("known are {}", listed(WORDS)));
                    return Err(format!("unknown `{{{word}}}`: {way} (a brace itself is `{{{{`)"));
                }
            },
        })
    }

    fn value<'c>(&self, container: &'c Container) -> Option<&'c str> {
        let pod = container.pod.as_deref();
        match self {
            Self::Namespace => pod.map(|pod| pod.namespace.as_str()),
            Self::Pod => pod.map(|pod| pod.name.as_str()),
            Self::Container => Some(&container.name),
            Self::Ip => pod.map(|pod| pod.ip.as_str()),
            Self::Image => Some(&container.image),
            Self::App => label(container, "app").or_else(|| label(container, "app.kubernetes.io/name")),
            Self::Hostname => label(container, "HOSTNAME").or_else(|| pod.map(|pod| pod.name.as_str())),
            Self::Label(name) => label(container, name),
            Self::Annotation(name) => annotation(container, name),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Namespace => "namespace".into(),
            Self::Pod => "pod".into(),
            Self::Container => "container name".into(),
            Self::Ip => "ip".into(),
            Self::Image => "image".into(),
            Self::App => "label `app`".into(),
            Self::Hostname => "host name".into(),
            Self::Label(name) => format!("label `{name}`"),
            Self::Annotation(name) => format!("annotation `{name}`"),
        }
    }
}

/// A text that is itself as a template.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('{', "{{")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::testing::container, *};

    fn expanded(text: &str) -> Result<String, String> {
        let template =
            Template::parse(text).map_err(|error| format!("{}: {}", error.offset, error.message))?;
        template.expand(Some(&container("c1", "shop", "web-0", "app")))
    }

    #[test]
    fn places_take_what_is_known_of_the_target() {
        assert_eq!(
            expanded("http://{ip}:{annotation:port|8080}/{pod}").unwrap(),
            "http://10.0.0.7:8080/web-0"
        );
        assert_eq!(
            expanded("{namespace}/{pod}/{container} {label:app} {app}").unwrap(),
            "shop/web-0/app web-0 web-0"
        );
        assert_eq!(expanded("{{\"a\": {{}, \"{image}\"}").unwrap(), "{\"a\": {}, \"registry/nginx:1\"}");
        assert_eq!(expanded("{label:none|}").unwrap(), "");
    }

    #[test]
    fn what_is_missing_or_unfit_is_said() {
        assert_eq!(expanded("{annotation:port}").unwrap_err(), "the target has no annotation `port`");
        let mut long = container("c1", "shop", "web-0", "app");
        let template = Template::parse("{image}").unwrap();
        long.image = "x".repeat(257);
        assert!(template.expand(Some(&long)).unwrap_err().contains("longer than 256 bytes"));
        long.image = "a\nb".to_owned();
        assert!(template.expand(Some(&long)).unwrap_err().contains("control characters"));
        assert_eq!(template.expand(None).unwrap_err(), "the target has no image");
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_place() {
        for (text, said) in [
            ("a{pdo}", "1: unknown `{pdo}`: did you mean `pod`?"),
            ("{pod} {ip", "6: `{` is not closed"),
            ("{labels:app}", "0: unknown `{labels:app}`: did you mean `label`?"),
            ("{label:}", "0: `{label:}` names nothing"),
            ("{}", "0: unknown `{}`"),
        ] {
            let error = expanded(text).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn where_there_are_no_targets_only_what_was_meant_as_a_place_is_one() {
        assert_eq!(Template::first_place("{\"json\": {label:app}}"), Some(9));
        assert_eq!(Template::first_place("{\"a\": 1}"), None);
        assert!(Template::parse("a {{b} c").unwrap().is_plain());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_within_itself(text in "[a-z{}|:]{0,20}") {
            match Template::parse(&text) {
                Ok(template) => { let _ = template.expand(None); }
                Err(error) => prop_assert!(error.offset < text.len() && text.is_char_boundary(error.offset)),
            }
        }

        #[test]
        fn a_text_that_was_escaped_is_itself(text in ".{0,30}") {
            let template = Template::parse(&escaped(&text)).unwrap();
            prop_assert_eq!(template.expand(None).unwrap(), text);
        }
    }
}
