//! A loaded program and what the kernel says it cost.

use std::{
    fs,
    os::fd::{AsRawFd, OwnedFd},
};

/// A program that runs, or a map that it writes.
#[derive(Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its object, which has the name of the input that it counts for.
    pub object: &'static str,
    /// Whether this is a map.
    pub is_map: bool,
    pub(super) fd: OwnedFd,
}

/// Figures from the kernel's description of a program or map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of kernel memory.
    pub memlock: u64,
    /// Runs while the kernel's BPF statistics were on.
    pub run_count: u64,
    /// Nanoseconds of those runs.
    pub run_time_ns: u64,
    /// Runs that were skipped because the program was already running on that CPU.
    pub missed: u64,
    /// Instructions that the verifier walked through at the load; 0 before Linux 5.16.
    pub verified: u64,
}

impl Program {
    /// What `/proc/self/fdinfo` says.
    pub fn figures(&self) -> Figures {
        let path = format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd());
        fs::read_to_string(path).map(|text| Figures::parse(&text)).unwrap_or_default()
    }
}

impl Figures {
    fn parse(text: &str) -> Self {
        let mut figures = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let Ok(value) = value.trim().parse() else { continue };
            match key {
                "memlock" => figures.memlock = value,
                "run_cnt" => figures.run_count = value,
                "run_time_ns" => figures.run_time_ns = value,
                "recursion_misses" => figures.missed = value,
                "verified_insns" => figures.verified = value,
                _ => {}
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let text = "pos:\t0\nprog_type:\t17\nmemlock:\t4096\nrun_time_ns:\t500\nrun_cnt:\t5\nrecursion_misses:\t1\n\
                    verified_insns:\t70\n";
        let wanted = Figures { memlock: 4096, run_count: 5, run_time_ns: 500, missed: 1, verified: 70 };
        assert_eq!(Figures::parse(text), wanted);
    }
}
