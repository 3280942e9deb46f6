//! What the input has in the kernel.

use pitot_common::process::ENDING;

use crate::{
    bpf::Settings,
    catalogue::{BpfDef, Entries, Field, Hook, MapDef, ProgramKind, UnderWay, Variant},
};

const fn typed(program: &'static str) -> Variant {
    Variant { program, kind: ProgramKind::TpBtf, loses: "" }
}

const fn raw(program: &'static str) -> Variant {
    Variant { program, kind: ProgramKind::RawTp, loses: "" }
}

const fn field(setting: &'static str, paths: &'static [&'static str], loses: &'static str) -> Field {
    Field { setting, paths, loses }
}

const EXITS: &str = "exits of processes";
const TASKS: &str = "states and use of processes";
const BYTES: &str = "bytes read and written";

pub(super) static BPF: BpfDef = BpfDef {
    object: "process",
    hooks: &[
        Hook { name: "task_newtask", variants: &[typed("process_start"), raw("process_start_r")], when: "" },
        Hook {
            name: "sched_process_exec",
            variants: &[typed("process_exec"), raw("process_exec_r")],
            when: "",
        },
        Hook { name: "sched_process_exit", variants: &[typed("process_exit")], when: "EXITS_ON" },
        Hook { name: "sched_process_free", variants: &[typed("process_free")], when: "TASKS_ON" },
        Hook {
            name: "task",
            variants: &[Variant { program: "process_task", kind: ProgramKind::Iter, loses: "" }],
            when: "TASKS_ON",
        },
    ],
    fields: &[
        field("TASK_SIGNAL", &["task_struct.signal"], EXITS),
        field("TASK_LEADER", &["task_struct.group_leader"], EXITS),
        field("TASK_EXIT_CODE", &["task_struct.exit_code"], EXITS),
        field("TASK_TGID", &["task_struct.tgid"], EXITS),
        field("TASK_START", &["task_struct.start_time"], EXITS),
        field("SIG_LIVE", &["signal_struct.live"], EXITS),
        field("SIG_FLAGS", &["signal_struct.flags"], EXITS),
        field("SIG_EXIT_CODE", &["signal_struct.group_exit_code"], EXITS),
        field(
            "GROUP_DEAD_ARG",
            &["sched_process_exit(2)"],
            "nothing: the last thread is found by what is left alive",
        ),
        field("TASK_PID", &["task_struct.pid"], TASKS),
        field("TASK_STATE", &["task_struct.__state", "task_struct.state"], TASKS),
        field("TASK_EXIT_STATE", &["task_struct.exit_state"], TASKS),
        field("TASK_COMM", &["task_struct.comm"], TASKS),
        field("TASK_RUNTIME", &["task_struct.se.sum_exec_runtime"], TASKS),
        field("TASK_MM", &["task_struct.mm"], TASKS),
        field("SIG_RUNTIME", &["signal_struct.sum_sched_runtime"], TASKS),
        field(
            "MM_RSS_PLAIN",
            &["mm_struct.rss_stat.count"],
            "nothing: pages are counted by CPU, and the counters are read",
        ),
        field("MM_RSS", &["mm_struct.rss_stat"], TASKS),
        field("PERCPU_COUNT", &["percpu_counter.count"], TASKS),
        field("PERCPU_LAST", &["percpu_counter.counters"], TASKS),
        field("TASK_READ", &["task_struct.ioac.read_bytes"], BYTES),
        field("TASK_WRITTEN", &["task_struct.ioac.write_bytes"], BYTES),
        field("SIG_READ", &["signal_struct.ioac.read_bytes"], BYTES),
        field("SIG_WRITTEN", &["signal_struct.ioac.write_bytes"], BYTES),
    ],
    maps: &[
        MapDef { name: "PROCESS", entries: Entries::PerCpu },
        MapDef { name: "PROCESS_ENDED", entries: Entries::Fixed(ENDING) },
    ],
    shared: &[],
    under_way: &[UnderWay::Map("PROCESS_ENDED")],
    oldest: None,
};

/// Turns on what the kernel has the fields for.
pub(super) fn decide(settings: &mut Settings, tasks: bool) {
    let has = |loses: &str, settings: &Settings| {
        BPF.fields.iter().filter(|field| field.loses == loses).all(|field| settings.has(&[field.setting]))
    };
    let (exits, bytes) = (has(EXITS, settings), has(BYTES, settings));
    let tasks = tasks && exits && has(TASKS, settings);
    settings.set("EXITS_ON", u32::from(exits));
    settings.set("BYTES_ON", u32::from(bytes));
    settings.set("TASKS_ON", u32::from(tasks));
}
