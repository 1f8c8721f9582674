//! RESP3: finding frames in a byte stream, reading them in place, writing commands.
//!
//! Two steps, so that nothing is built that is not needed. [`Scanner`] walks the stream once and
//! says where a frame ends; it believes no announced length (it only counts down), and keeps no
//! bytes. [`Reader`] then walks a whole frame and hands out borrowed nodes. The link stores the
//! bytes between the two as they came and decodes them only when somebody asks.

mod encode;
mod error;
mod node;
mod scan;

pub(crate) use encode::header;
pub use encode::{command_bytes, encode_command};
pub use error::ProtocolError;
pub use node::{Node, Reader};
pub use scan::{DEPTH_MAX, LINE_BYTES_MAX, Scan, Scanner};
