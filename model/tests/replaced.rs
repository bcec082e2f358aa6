//! What a process holds after nets on OpenVINO that were loaded, asked and dropped, as a worker's versions are that others replace. One test in a
//! file of its own, since it measures its process.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]
#![cfg(target_os = "linux")]

use model_core::{Engine, Pixels};
use model_openvino::OpenVino;
use model_openvino::onnx::proto::Message;
use model_openvino::onnx::write::{Node, floats, side};
use registry::{Fit, Input};

const SIZE: u32 = 64;
const OUTPUTS: u32 = 256;
const WEIGHTS: usize = (SIZE * SIZE * OUTPUTS) as usize;

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A net of one convolution over the whole image, any number of images at once: 4 MiB of weights.
fn net() -> Vec<u8> {
    let [size, outputs] = [SIZE, OUTPUTS].map(u64::from);
    let shape = [1, size, size]
        .iter()
        .fold(Message::default().message(1, &Message::default().bytes(2, b"N")), |shape, &length| {
            shape.message(1, &Message::default().int(1, length))
        });
    let weights: Vec<f32> = (0..WEIGHTS).map(|at| (at % 251) as f32 * 1e-6).collect();
    let node = Node::new("Conv").ints("kernel_shape", &[SIZE.into(), SIZE.into()]);
    let graph = Message::default()
        .message(1, &node.written(&["x".to_owned(), "w".to_owned()], "y"))
        .bytes(2, b"one")
        .message(5, &floats("w", &[outputs, 1, size, size], &weights))
        .message(11, &side("x", Some(&shape)))
        .message(12, &side("y", None));
    let operators = Message::default().bytes(1, b"").int(2, 13);
    Message::default().int(1, 8).message(7, &graph).message(8, &operators).into_bytes()
}

/// Loads the net, has two threads ask it about so many images at once, and lets go of it.
fn serve(onnx: &[u8], input: &Input) {
    let first = OpenVino::load("one.onnx", onnx, input, OUTPUTS).unwrap();
    let instances = [first.share().unwrap(), first.share().unwrap()];
    let threads = instances.map(|mut instance| {
        std::thread::spawn(move || {
            let image = Pixels::black(SIZE, 1);
            for images in [1, 7] {
                assert_eq!(instance.logits(&vec![&image; images]).unwrap().len(), images);
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_hundred_nets_that_were_replaced_leave_nothing_behind() {
    let onnx = net();
    let input = Input {
        size: SIZE,
        channels: 1,
        order: Default::default(),
        layout: Default::default(),
        fit: Fit::Stretch,
        crop: None,
        interpolation: Default::default(),
        polarity: Default::default(),
        mean: vec![0.0],
        std: vec![1.0],
    };
    let mut held = Vec::new();
    for _ in 0..10 {
        (0..10).for_each(|_| serve(&onnx, &input));
        held.push(resident() / 1_000_000);
    }
    println!("MB after each ten: {held:?}");
    // The other ninety have 377 MB of weights, and with each kind of instance some more.
    let slack = 40;
    assert!(held[9] < held[0] + slack, "MB after each ten: {held:?}");
}
