//! Options that can grow: made by `default`, and changed by a method for each field.

/// Writes a method that sets a field, for each of them; behind `some`, one that is `None` by default.
macro_rules! setters {
    ($($field:ident: $kind:ty),* ; some $($optional:ident: $inner:ty),* $(,)?) => {
        $(#[doc = concat!("These options with another [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: $kind) -> Self {
            self.$field = $field;
            self
        })*
        $(#[doc = concat!("These options with a [`", stringify!($optional), "`](Self::", stringify!($optional), ").")]
        #[must_use]
        pub fn $optional(mut self, $optional: $inner) -> Self {
            self.$optional = Some($optional);
            self
        })*
    };
}

pub(crate) use setters;
