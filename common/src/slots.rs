/// Declares a closed list of label values: an enum whose order is the index into a kernel map and whose
/// strings are the values of the label.
#[macro_export]
macro_rules! slots {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $label:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every value, in the order of the kernel map.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The label values, in the same order.
            pub const LABELS: &'static [&'static str] = &[$($label),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Position in the kernel map.
            #[inline(always)]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The label value.
            pub const fn label(self) -> &'static str {
                Self::LABELS[self.index()]
            }
        }
    };
}
