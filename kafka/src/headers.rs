//! Record headers in and out of librdkafka as they are: in order, null values, repeated names and names that are not UTF-8
//! included. To Kafka a name is bytes, and anyone who may send can write such a one; rdkafka's own iterator panics at it.

use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings;
use rdkafka::message::{BorrowedMessage, OwnedHeaders};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaHeaders};

/// A header's name, and its value where that is not null.
pub type Pair = (Vec<u8>, Option<Vec<u8>>);

/// The bytes where a record's headers belong are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record's headers can't be read")]
pub struct HeadersError(#[source] RDKafkaErrorCode);

/// Headers for a record to send: name and value of each.
#[allow(unsafe_code)]
pub fn to_headers<'a>(pairs: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> OwnedHeaders {
    let headers = OwnedHeaders::new();
    // `OwnedHeaders::insert` takes names that are UTF-8 only.
    let list = ptr::from_ref(headers.as_borrowed()).cast::<RDKafkaHeaders>().cast_mut();
    for (name, value) in pairs {
        let (value, length) = value.map_or((ptr::null(), 0), |value| (value.as_ptr(), value.len()));
        // SAFETY: the list is alive and this function's alone, and not shared before it returns; librdkafka copies name
        // and value, of which it is given the lengths.
        let refused = unsafe {
            bindings::rd_kafka_header_add(
                list,
                name.as_ptr().cast(),
                name.len().cast_signed(),
                value.cast(),
                length.cast_signed(),
            )
        };
        // Only a list that a record on its way owns already takes no more.
        debug_assert_eq!(RDKafkaErrorCode::from(refused), RDKafkaErrorCode::NoError);
    }
    headers
}

/// The headers of a record that came; none where it has none. A name is read to its first NUL byte: librdkafka does not
/// tell how long it is.
///
/// # Errors
/// [`HeadersError`] where the bytes that hold them do not.
#[allow(unsafe_code)]
pub fn from_headers(message: &BorrowedMessage<'_>) -> Result<Vec<Pair>, HeadersError> {
    let mut list = ptr::null_mut();
    // SAFETY: the record is alive, and the list that librdkafka makes of its headers lives as long as it does.
    let found = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &raw mut list) };
    match RDKafkaErrorCode::from(found) {
        RDKafkaErrorCode::NoError => {}
        RDKafkaErrorCode::NoEnt => return Ok(Vec::new()),
        code => return Err(HeadersError(code)),
    }
    // SAFETY: as above.
    let count = unsafe { bindings::rd_kafka_header_cnt(list) };
    // SAFETY: as above, and each index is below the count.
    (0..count).map(|index| unsafe { pair(list, index) }).collect()
}

/// # Safety
/// The list has to be alive.
#[allow(unsafe_code)]
unsafe fn pair(list: *const RDKafkaHeaders, index: usize) -> Result<Pair, HeadersError> {
    let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the list is alive, and an index beyond its end is an error.
    let found = unsafe {
        bindings::rd_kafka_header_get_all(list, index, &raw mut name, &raw mut value, &raw mut length)
    };
    match RDKafkaErrorCode::from(found) {
        RDKafkaErrorCode::NoError => {}
        code => return Err(HeadersError(code)),
    }
    // SAFETY: a name ends with NUL, and a value that is not null has that length; both live in the list.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes().to_vec();
        let value =
            (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), length).to_vec());
        Ok((name, value))
    }
}
