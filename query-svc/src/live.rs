//! Live streams: what somebody follows reaches open connections as it happens, without a gap.
//!
//! The [`hub`] listens to the bus. When the bus shows a new row, the hub keeps it until the checkpoints cover it. Then every poll
//! would show it, and nothing that denies it can still be missing from memory. So the hub hands it to the [`mailbox`] of each stream
//! that it concerns, together with a cursor ([`cursor::LiveCursor`]) that says what the bus had shown by then.
//!
//! A [`stream`] begins, and comes back after every break, in this order:
//!
//! 1. It registers with the hub. From then on, changes of what it follows cut it.
//! 2. It reads what it follows: authors, tags.
//! 3. It tells the hub, and its mailbox begins to fill.
//! 4. It replays by ordinary pages, from the client's cursor to the end of the list. The posts come from their rows and never from
//!    the entries of home timelines: a row is committed before the bus shows it, its entries long after, and the bus shows the row
//!    once.
//! 5. It says `resumed`, and goes on with its mailbox. It leaves out what the replay has sent.
//!
//! What is committed before step 3 is in the pages. What is committed later is in the mailbox. If a mailbox overflows, if the bus
//! breaks or if the owner follows somebody else, the stream is cut: it begins again, with the cursor of what it sent last. A replay
//! is pulled page by page and queues nothing. After 800 posts, the client is told to begin anew (`reset`).
//!
//! The model in `projector/tests/model/live.rs` checks this protocol.

mod connection;
mod cursor;
mod event;
mod hub;
mod index;
mod mailbox;
mod stream;
mod topic;
mod worker;

pub(crate) use self::connection::Connection;
pub(crate) use self::event::{Event, What};
pub(crate) use self::hub::{Hub, Lookup};
pub(crate) use self::index::{Index, Key};
pub(crate) use self::mailbox::Cut;
pub(crate) use self::stream::{Ended, Live, LiveStream, Next, NotOpened};
pub(crate) use self::topic::Topic;
pub(crate) use self::worker::run as look_up;
