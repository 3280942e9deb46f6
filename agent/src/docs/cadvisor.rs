//! What `[pods] cadvisor` publishes: the end of `docs/metrics.md`.

use std::fmt::{self, Write};

use super::code;
use crate::{input::cgroup::DEF, pipeline::cadvisor};

pub(super) fn write(out: &mut String) -> fmt::Result {
    writeln!(out, "## cAdvisor's names\n")?;
    writeln!(
        out,
        "With `[pods] cadvisor = true`, figures of the input `{}` also under the names that cAdvisor has for them, with \
         its labels `id`, `namespace`, `pod`, `container`, `image` and `name`.\n",
        DEF.name
    )?;
    writeln!(out, "| Metric | The same as |")?;
    writeln!(out, "| --- | --- |")?;
    for (theirs, ours, only) in cadvisor::names() {
        let only = only.map(|(label, value)| format!("{{{label}=\"{value}\"}}")).unwrap_or_default();
        writeln!(out, "| {} | {} |", code(theirs), code(&format!("{}{ours}{only}", DEF.prefix)))?;
    }
    writeln!(out)
}
