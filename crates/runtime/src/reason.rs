//! Why `Ready`, or the condition that a guest has instead, is as it is.

use api::{Error, ErrorKind, Truth};

use crate::pass::End;
use crate::reconcile::Wait;

/// The reason of `Ready` and of the conditions of guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyReason {
    /// What is wanted is what is there. Nothing to do.
    Settled,
    /// It is being changed just now. If it stays so for minutes, look at the steps in the message: they do not help.
    Acting,
    /// Something else must happen first; the message says what. Look there.
    Waiting,
    /// Nobody can tell how it is, because where it runs does not answer. Look at the host.
    Unreachable,
    /// The spec cannot work. Change what the message names.
    Invalid,
    /// The control plane may not do what this needs. Grant it, or change the spec.
    Forbidden,
    /// Something that this needs does not exist. Create it, or change the spec.
    NotFound,
    /// There is no capacity left. Add some, or free some; it is tried again.
    Exhausted,
    /// What this needs does not answer; it is tried again. Look at what the message names.
    Unavailable,
    /// A fault of the control plane. Its log has the whole story; please report it.
    Internal,
}

impl ReadyReason {
    /// What a pass says by its end.
    pub(crate) fn of(end: &End) -> Self {
        match end {
            End::Gone | End::Settled => Self::Settled,
            End::Acted { .. } => Self::Acting,
            End::Waiting(waits)
                if waits
                    .iter()
                    .any(|wait| matches!(wait, Wait::Unreachable(_))) =>
            {
                Self::Unreachable
            }
            End::Waiting(_) => Self::Waiting,
            End::Failed(error) => Self::of_error(error),
        }
    }

    fn of_error(error: &Error) -> Self {
        match error.kind {
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Forbidden => Self::Forbidden,
            ErrorKind::NotFound => Self::NotFound,
            // Never shown: another look follows at once.
            ErrorKind::Conflict => Self::Acting,
            ErrorKind::Exhausted => Self::Exhausted,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Internal => Self::Internal,
        }
    }

    /// What the condition is.
    pub(crate) fn truth(self) -> Truth {
        match self {
            Self::Settled => Truth::True,
            Self::Unreachable | Self::Unavailable | Self::Internal => Truth::Unknown,
            _ => Truth::False,
        }
    }
}
