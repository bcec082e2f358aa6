//! Where a net takes values or gives them.

use std::mem::{needs_drop, transmute_copy};
use std::ops::Deref;

use openvino::Node;
use openvino_sys::{ov_output_const_port_free, ov_output_const_port_t};

/// An input or an output of a net, let go of when it is dropped. It holds all layers before it with their weights, and `openvino` 0.11
/// never frees a [`Node`]: each net that was loaded would stay in memory for good.
pub(crate) struct Port(Node);

/// What a node is in there: the pointer that it was made of, and nothing beside it.
type Pointer = *mut ov_output_const_port_t;
const _: () = assert!(size_of::<Node>() == size_of::<Pointer>());
// Where this does not hold `openvino` frees its nodes, and they would be freed twice: then no port is needed any more.
const _: () = assert!(!needs_drop::<Node>());

impl From<Node> for Port {
    fn from(node: Node) -> Self {
        Self(node)
    }
}

impl Deref for Port {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.0
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // SAFETY: a node is the size of its one field, the pointer that OpenVINO gave to be freed by this function. Nobody frees it
        // before, since nodes have no destructor, and nobody uses it after: it is not to be had but by reference.
        #[allow(unsafe_code)]
        unsafe {
            ov_output_const_port_free(transmute_copy::<Node, Pointer>(&self.0));
        }
    }
}
