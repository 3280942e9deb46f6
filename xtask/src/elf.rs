//! What is in a kernel object.

use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind, read::elf::ElfFile64};

/// Section with the line that says what an object was made of.
pub const STAMP: &str = ".pitot";

/// Bytes of one instruction.
const INSTRUCTION: u64 = 8;

/// A kernel object, read.
#[derive(Debug)]
pub struct Contents {
    /// Its programs, by name.
    pub programs: Vec<Program>,
    /// The settings that the agent fills in.
    pub settings: Vec<String>,
    /// What it was made of; nothing for an object that was not finished by `cargo xtask ebpf`.
    pub stamp: Option<Stamp>,
}

/// A program.
#[derive(Debug)]
pub struct Program {
    /// Name.
    pub name: String,
    /// The section, which says how it attaches: `tp_btf/sched_switch`.
    pub section: String,
    /// Instructions.
    pub instructions: u64,
}

/// What an object was made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Hash of the sources.
    pub sources: String,
    /// Hash of those that lay out the words in its maps.
    pub layout: String,
    /// The compiler's name and version.
    pub compiler: String,
}

impl Stamp {
    /// The text of the section.
    pub fn text(&self) -> String {
        format!("sources {} layout {} compiler {}\n", self.sources, self.layout, self.compiler)
    }

    fn parse(text: &str) -> Option<Self> {
        let (sources, rest) = text.strip_prefix("sources ")?.split_once(" layout ")?;
        let (layout, compiler) = rest.split_once(" compiler ")?;
        let [sources, layout, compiler] = [sources, layout, compiler.trim_end()].map(str::to_owned);
        Some(Self { sources, layout, compiler })
    }
}

/// Reads an object.
pub fn read(bytes: &[u8]) -> object::Result<Contents> {
    let file: ElfFile64<'_> = ElfFile64::parse(bytes)?;
    let mut contents = Contents { programs: Vec::new(), settings: Vec::new(), stamp: None };
    for symbol in file.symbols() {
        let Some(index) = symbol.section_index() else { continue };
        let section = file.section_by_index(index)?;
        let (name, place) = (symbol.name()?.to_owned(), section.name()?);
        // `.text` holds what the compiler calls for copies; no program of ours does.
        if section.kind() == SectionKind::Text && symbol.kind() == SymbolKind::Text && place != ".text" {
            let instructions = symbol.size() / INSTRUCTION;
            contents.programs.push(Program { name, section: place.to_owned(), instructions });
        } else if place == ".rodata" && symbol.kind() == SymbolKind::Data {
            contents.settings.push(name);
        }
    }
    contents.programs.sort_by(|a, b| a.name.cmp(&b.name));
    contents.settings.sort();
    if let Some(section) = file.section_by_name(STAMP) {
        contents.stamp = std::str::from_utf8(section.data()?).ok().and_then(Stamp::parse);
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_is_written() {
        let compiler = "rustc 1.96.0 (ac68faa20 2026-05-25)".into();
        let stamp = Stamp { sources: "1f".into(), layout: "2e".into(), compiler };
        assert_eq!(Stamp::parse(&stamp.text()), Some(stamp));
        assert_eq!(Stamp::parse("something else"), None);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(read(b"text").is_err());
    }
}
