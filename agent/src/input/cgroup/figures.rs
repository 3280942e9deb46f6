//! What is known of one control group at one moment, in the same units whatever way it came.

use super::metrics::{
    CPU_LIMIT, CPU_MODE, CPU_PERIODS, CPU_THROTTLED, CPU_THROTTLED_PERIODS, CPU_USAGE, IO_BYTES,
    IO_OPERATIONS, MEMORY_EVENT_NAMES, MEMORY_EVENTS, MEMORY_LIMIT, MEMORY_PEAK, MEMORY_USAGE, MODES,
    OPERATIONS, PIDS, PIDS_LIMIT, PRESSURE_STALLED, PRESSURE_WAITING, RESOURCES,
};
use crate::accumulator::Accumulator;

/// Figures of a control group. What its kernel or its controllers do not tell is not there.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Bytes.
    pub(super) memory_usage: Option<u64>,
    /// Bytes.
    pub(super) memory_peak: Option<u64>,
    /// In the order of [`MEMORY_EVENT_NAMES`].
    pub(super) memory_events: [Option<u64>; MEMORY_EVENT_NAMES.len()],
    /// Nanoseconds.
    pub(super) cpu_usage: Option<u64>,
    /// Nanoseconds in user and in system mode.
    pub(super) cpu_modes: [Option<u64>; 2],
    pub(super) cpu_periods: Option<u64>,
    pub(super) cpu_throttled_periods: Option<u64>,
    /// Nanoseconds.
    pub(super) cpu_throttled: Option<u64>,
    pub(super) pids: Option<u64>,
    /// Nanoseconds that tasks waited and were stalled, by [`RESOURCES`].
    pub(super) pressure: [[Option<u64>; 2]; RESOURCES.len()],
    /// By device.
    pub(super) io: Vec<DeviceIo>,
}

/// What a control group may use; `None` for as much as there is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Bytes.
    pub(super) memory: Option<u64>,
    pub(super) pids: Option<u64>,
    /// Time on CPUs per period, and the period, in the same unit.
    pub(super) cpu_quota: Option<u64>,
    pub(super) cpu_period: Option<u64>,
}

/// Reads and writes of a device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeviceIo {
    pub(super) major: u32,
    pub(super) minor: u32,
    /// By [`OPERATIONS`].
    pub(super) bytes: [u64; 2],
    /// By [`OPERATIONS`].
    pub(super) operations: [u64; 2],
}

const SECONDS_PER_NANOSECOND: f64 = 1e-9;

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 * SECONDS_PER_NANOSECOND
}

impl Figures {
    /// Forgets everything but the room for devices.
    pub(super) fn clear(&mut self) {
        let mut io = std::mem::take(&mut self.io);
        io.clear();
        *self = Self { io, ..Self::default() };
    }

    /// The line of a device, a new one if need be.
    pub(super) fn device(&mut self, major: u32, minor: u32) -> &mut DeviceIo {
        let at = self.io.iter().position(|known| (known.major, known.minor) == (major, minor));
        let at = at.unwrap_or_else(|| {
            self.io.push(DeviceIo { major, minor, ..DeviceIo::default() });
            self.io.len() - 1
        });
        &mut self.io[at]
    }

    /// Delivers all that is known, but for devices.
    pub(super) fn put(&self, cgroup: &[u8], acc: &mut dyn Accumulator) {
        let own = &[cgroup];
        for (metric, value) in [
            (&MEMORY_USAGE, self.memory_usage),
            (&MEMORY_PEAK, self.memory_peak),
            (&CPU_PERIODS, self.cpu_periods),
            (&CPU_THROTTLED_PERIODS, self.cpu_throttled_periods),
            (&PIDS, self.pids),
        ] {
            if let Some(value) = value {
                acc.put(metric, own, value);
            }
        }
        for (metric, value) in [(&CPU_USAGE, self.cpu_usage), (&CPU_THROTTLED, self.cpu_throttled)] {
            if let Some(value) = value {
                acc.put(metric, own, seconds(value));
            }
        }
        for (mode, value) in MODES.iter().zip(self.cpu_modes) {
            if let Some(value) = value {
                acc.put(&CPU_MODE, &[cgroup, mode.as_bytes()], seconds(value));
            }
        }
        for (event, value) in MEMORY_EVENT_NAMES.iter().zip(self.memory_events) {
            if let Some(value) = value {
                acc.put(&MEMORY_EVENTS, &[cgroup, event.as_bytes()], value);
            }
        }
        for (resource, times) in RESOURCES.iter().zip(self.pressure) {
            for (metric, value) in [&PRESSURE_WAITING, &PRESSURE_STALLED].into_iter().zip(times) {
                if let Some(value) = value {
                    acc.put(metric, &[cgroup, resource.as_bytes()], seconds(value));
                }
            }
        }
    }
}

impl DeviceIo {
    /// Delivers what a device did, under its name.
    pub(super) fn put(&self, cgroup: &[u8], device: &[u8], acc: &mut dyn Accumulator) {
        for (at, operation) in OPERATIONS.iter().enumerate() {
            let labels = &[cgroup, device, operation.as_bytes()];
            acc.put(&IO_BYTES, labels, self.bytes[at]);
            acc.put(&IO_OPERATIONS, labels, self.operations[at]);
        }
    }
}

impl Limits {
    /// These limits, and what others say beside them.
    pub(super) fn or(&self, others: &Self) -> Self {
        Self {
            memory: self.memory.or(others.memory),
            pids: self.pids.or(others.pids),
            cpu_quota: self.cpu_quota.or(others.cpu_quota),
            cpu_period: self.cpu_period.or(others.cpu_period),
        }
    }

    /// Delivers the limits that there are.
    pub(super) fn put(&self, cgroup: &[u8], acc: &mut dyn Accumulator) {
        let own = &[cgroup];
        for (metric, value) in [(&MEMORY_LIMIT, self.memory), (&PIDS_LIMIT, self.pids)] {
            if let Some(value) = value {
                acc.put(metric, own, value);
            }
        }
        if let (Some(quota), Some(period @ 1..)) = (self.cpu_quota, self.cpu_period) {
            acc.put(&CPU_LIMIT, own, quota as f64 / period as f64);
        }
    }
}
