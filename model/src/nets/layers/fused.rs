//! A convolution, its bias and what follows it in one call of oneDNN: an activation, or the sum with a residual. Between two calls the
//! layer's output would leave the processor's cache and come back.
//!
//! libtorch has these for what its own compiler makes, as functions of a stable C interface (`torch/csrc/inductor/aoti_torch/c/shim_cpu.h`)
//! that tch does not bind. They are looked up by name: where libtorch is built without oneDNN they are not there, and the layers are
//! computed one by one.
#![allow(unsafe_code, reason = "the functions are C's")]

use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::Activation;

/// A tensor as the C interface has it: what tch points to, too.
type Handle = *mut C_tensor;

type Convolution = unsafe extern "C" fn(
    x: Handle,
    weight: Handle,
    bias: *const Handle,
    padding: *const i64,
    padding_len: i64,
    stride: *const i64,
    stride_len: i64,
    dilation: *const i64,
    dilation_len: i64,
    groups: i64,
    attr: *const c_char,
    scalars: *const *const f64,
    scalars_len: i64,
    algorithm: *const *const c_char,
    result: *mut Handle,
) -> c_int;

type ConvolutionAndSum = unsafe extern "C" fn(
    other: Handle,
    x: Handle,
    weight: Handle,
    bias: *const Handle,
    padding: *const i64,
    padding_len: i64,
    stride: *const i64,
    stride_len: i64,
    dilation: *const i64,
    dilation_len: i64,
    groups: i64,
    binary_attr: *const c_char,
    alpha: *const f64,
    unary_attr: *const *const c_char,
    unary_scalars: *const *const f64,
    unary_scalars_len: i64,
    unary_algorithm: *const *const c_char,
    result: *mut Handle,
) -> c_int;

#[derive(Clone, Copy)]
struct Functions {
    convolution: Convolution,
    convolution_and_sum: ConvolutionAndSum,
}

/// Those of the libtorch that this process has loaded.
fn functions() -> Option<Functions> {
    static FOUND: OnceLock<Option<Functions>> = OnceLock::new();
    let find = |name: &CStr| {
        // SAFETY: dlsym takes a name that ends with a zero byte and looks through what is loaded.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    };
    *FOUND.get_or_init(|| {
        let convolution = find(c"aoti_torch_cpu_mkldnn__convolution_pointwise")?;
        let convolution_and_sum = find(c"aoti_torch_cpu_mkldnn__convolution_pointwise_binary_")?;
        // SAFETY: libtorch keeps this interface stable, and these are its functions of these names.
        unsafe {
            Some(Functions {
                convolution: std::mem::transmute::<*mut libc::c_void, Convolution>(convolution),
                convolution_and_sum: std::mem::transmute::<*mut libc::c_void, ConvolutionAndSum>(
                    convolution_and_sum,
                ),
            })
        }
    })
}

/// A convolution that is computed so.
#[derive(Clone, Debug)]
pub(super) struct Fused {
    /// Laid out for oneDNN at the first pass, which says for which size; all instances share them.
    weight: Arc<Mutex<Tensor>>,
    padding: [i64; 2],
    stride: [i64; 2],
    groups: i64,
}

impl Fused {
    /// Of weights `[c_out, c_in / groups, rows, columns]` on the processor; none where this libtorch can't.
    pub(super) fn new(weight: &Tensor, padding: [i64; 2], stride: i64, groups: i64) -> Option<Self> {
        #[cfg(test)]
        if LACKING.get() {
            return None;
        }
        functions()?;
        let weight = Arc::new(Mutex::new(weight.shallow_clone()));
        Some(Self { weight, padding, stride: [stride, stride], groups })
    }

    /// `[n, c_in, h, w]`, channels last, to the same of `c_out` channels.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub(super) fn forward(
        &self,
        xs: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor, TchError> {
        const NONE: (&CStr, &[f64]) = (c"none", &[]);
        let (attr, bounds) = match activation {
            Activation::Identity => NONE,
            Activation::Relu => (c"relu", &[][..]),
            Activation::Relu6 => (c"hardtanh", &[0.0, 6.0][..]),
        };
        let scalars: Vec<*const f64> = bounds.iter().map(ptr::from_ref).collect();
        let weight = self.weight_for(xs)?;
        let bias = bias.map(handle);
        let mut result = ptr::null_mut();
        // SAFETY: all pointers are to what outlives the call, with the lengths given; the handles are tensors that live.
        let code = unsafe {
            (available()?.convolution)(
                handle(xs),
                handle(&weight),
                bias.as_ref().map_or(ptr::null(), ptr::from_ref),
                self.padding.as_ptr(),
                2,
                self.stride.as_ptr(),
                2,
                DILATION.as_ptr(),
                2,
                self.groups,
                attr.as_ptr(),
                scalars.as_ptr(),
                scalars.len() as i64,
                ptr::null(),
                &raw mut result,
            )
        };
        taken(code, result)
    }

    /// The same without an activation, added to `onto`, whose memory the result takes.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub(super) fn forward_onto(
        &self,
        xs: &Tensor,
        bias: Option<&Tensor>,
        onto: &Tensor,
    ) -> Result<Tensor, TchError> {
        let weight = self.weight_for(xs)?;
        let bias = bias.map(handle);
        let mut result = ptr::null_mut();
        // SAFETY: as above. What is written to is `onto`, which tch too would write to by a shared reference.
        let code = unsafe {
            (available()?.convolution_and_sum)(
                handle(onto),
                handle(xs),
                handle(&weight),
                bias.as_ref().map_or(ptr::null(), ptr::from_ref),
                self.padding.as_ptr(),
                2,
                self.stride.as_ptr(),
                2,
                DILATION.as_ptr(),
                2,
                self.groups,
                c"add".as_ptr(),
                ptr::null(),
                ptr::null(),
                ptr::null(),
                0,
                ptr::null(),
                &raw mut result,
            )
        };
        taken(code, result)
    }

    fn weight_for(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        let mut weight = self.weight.lock().unwrap_or_else(PoisonError::into_inner);
        if !weight.is_mkldnn() {
            let size = xs.size();
            *weight = weight.f_to_mkldnn(weight.kind())?.f_mkldnn_reorder_conv2d_weight(
                self.padding,
                self.stride,
                DILATION,
                self.groups,
                size.as_slice(),
            )?;
        }
        Ok(weight.shallow_clone())
    }
}

const DILATION: [i64; 2] = [1, 1];

fn available() -> Result<Functions, TchError> {
    functions().ok_or_else(|| TchError::Torch("this libtorch has no oneDNN".into()))
}

fn handle(tensor: &Tensor) -> Handle {
    tensor.as_ptr().cast_mut()
}

fn taken(code: c_int, result: Handle) -> Result<Tensor, TchError> {
    if code != 0 || result.is_null() {
        return Err(TchError::Torch(
            "oneDNN refused a convolution; libtorch's own words are on stderr".into(),
        ));
    }
    // SAFETY: the function made this tensor for us alone, as libtorch's other functions do for tch.
    Ok(unsafe { Tensor::from_ptr(result) })
}

#[cfg(test)]
thread_local! {
    static LACKING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// What `make` makes on this thread is made as where libtorch has none of these functions.
#[cfg(test)]
pub(crate) fn lacking<T>(make: impl FnOnce() -> T) -> T {
    LACKING.set(true);
    let made = make();
    LACKING.set(false);
    made
}
