//! Finishing an object: what the kernel does not read goes, and a line about its origin comes.

use anyhow::Result;
use object::{
    build::elf::{Builder, SectionData},
    elf::{SHT_PROGBITS, SHT_STRTAB},
};
use xtask::elf::{STAMP, Stamp};

/// Removes the debug sections (the types and lines in `.BTF` and `.BTF.ext` stay) and adds the stamp.
pub(crate) fn finish(linked: &[u8], stamp: &Stamp) -> Result<Vec<u8>> {
    let mut builder = Builder::read(linked)?;
    for section in &mut builder.sections {
        section.delete = section.name.starts_with(b".debug_") || section.name.starts_with(b".rel.debug_");
    }
    // The symbols of the sections that are gone.
    builder.delete_orphans();
    let section = builder.sections.add();
    section.name = STAMP.as_bytes().into();
    section.sh_type = SHT_PROGBITS;
    section.sh_addralign = 1;
    section.data = SectionData::Data(stamp.text().into_bytes().into());
    // LLVM keeps the names of sections beside those of symbols, the builder in a table of their own.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut finished = Vec::new();
    builder.write(&mut finished)?;
    Ok(finished)
}
