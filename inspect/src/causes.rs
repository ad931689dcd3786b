//! The macro behind every enum that says why something was refused: variants, metric words and sentences from one list.

/// Declares an enum whose variants are each written as `Variant "snake_case_word" "One sentence."`.
macro_rules! causes {
    ($(#[$attribute:meta])* $name:ident { $($variant:ident $word:literal $sentence:literal)* }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $(#[doc = $sentence] $variant,)*
        }

        impl $name {
            /// Every cause, in declaration order, so that `ALL[cause as usize] == cause`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The cause as one snake_case word, for metrics and EVE. Never changes once released.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The cause as one sentence, for operators.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.sentence())
            }
        }

        impl std::error::Error for $name {}
    };
}

pub(crate) use causes;
