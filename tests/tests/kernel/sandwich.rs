//! A counter between two readings of the kernel's own.

/// What the kernel said around two readings of ours: before and after the first, before and after the last.
pub(crate) struct Sandwich<K, M> {
    pub(crate) kernel: [K; 4],
    pub(crate) mine: [M; 2],
}

impl<K, M> Sandwich<K, M> {
    /// Works between two readings.
    pub(crate) fn around<C>(
        context: &mut C,
        kernel: impl Fn() -> K,
        mine: impl Fn(&mut C) -> M,
        work: impl FnOnce(),
    ) -> Self {
        let (outer_first, mine_first, inner_first) = (kernel(), mine(context), kernel());
        work();
        let (inner_last, mine_last, outer_last) = (kernel(), mine(context), kernel());
        Self { kernel: [outer_first, inner_first, inner_last, outer_last], mine: [mine_first, mine_last] }
    }

    /// The kernel's growth inside of our readings and outside of them, and our own growth.
    pub(crate) fn growths(&self, kernel: impl Fn(&K) -> u64, mine: impl Fn(&M) -> u64) -> Growths {
        let k: Vec<u64> = self.kernel.iter().map(kernel).collect();
        let [first, last] = &self.mine;
        Growths { inner: k[2] - k[1], outer: k[3] - k[0], mine: mine(last) - mine(first) }
    }
}

#[derive(Debug)]
pub(crate) struct Growths {
    pub(crate) inner: u64,
    pub(crate) outer: u64,
    pub(crate) mine: u64,
}

impl Growths {
    /// Ours lies between the kernel's, but for events that are half counted at the moment of a reading.
    #[track_caller]
    pub(crate) fn assert_between(&self, what: &str, half_counted: u64) {
        assert!(
            self.inner <= self.mine + half_counted && self.mine <= self.outer + half_counted,
            "{what}: {self:?}, {half_counted} may be half counted"
        );
    }
}
