//! Nets written by hand, quantised by the library.

use model_core::{Engine as _, Pixels};
use model_openvino::onnx::proto::Message;
use model_openvino::onnx::write::{Node, floats, side};
use model_openvino::quantize::Quantizer;
use model_openvino::{OpenVino, SATURATES, integers_are_exact};
use registry::{Fit, Input, Interpolation, Layout, Order, Polarity};

/// A node and what it is given; each gives `n` and its number.
type Step<'a> = (Node, Vec<&'a str>);

/// A file of nodes one after the other, for images of 8 x 8.
fn file(steps: Vec<Step<'_>>, tensors: &[Message], operators: u64) -> Vec<u8> {
    let shape = |last: &[u64]| {
        let first = Message::default().message(1, &Message::default().bytes(2, b"N"));
        last.iter().fold(first, |shape, &length| shape.message(1, &Message::default().int(1, length)))
    };
    let mut graph = Message::default();
    let mut last = String::new();
    for (number, (node, inputs)) in steps.into_iter().enumerate() {
        let inputs: Vec<String> = inputs.into_iter().map(str::to_owned).collect();
        last = format!("n{number}");
        graph = graph.message(1, &node.written(&inputs, &last));
    }
    graph = tensors.iter().fold(graph.bytes(2, b"net"), |graph, tensor| graph.message(5, tensor));
    graph = graph.message(11, &side("x", Some(&shape(&[3, 8, 8])))).message(12, &side(&last, None));
    let operators = Message::default().bytes(1, b"").int(2, operators);
    Message::default().int(1, 8).message(7, &graph).message(8, &operators).into_bytes()
}

/// A net that tells red, green, blue and dark. One of its features is `large` times as large as those that its answers come from, and
/// none of them looks at it.
pub(super) fn colours(large: f32) -> Vec<u8> {
    let features: Vec<f32> = [[1., 0., 0.], [0., 1., 0.], [0., 0., 1.], [large; 3]].concat();
    let answers: Vec<f32> =
        [[9., -3., -3., 0.], [-3., 9., -3., 0.], [-3., -3., 9., 0.], [-9., -9., -9., 0.]].concat();
    let conv = Node::new("Conv").ints("kernel_shape", &[1, 1]);
    file(
        vec![
            (conv, vec!["x", "features", "offsets"]),
            (Node::new("Relu"), vec!["n0"]),
            (Node::new("GlobalAveragePool"), vec!["n1"]),
            (Node::new("Flatten"), vec!["n2"]),
            (Node::new("Gemm").int("transB", 1), vec!["n3", "answers", "bias"]),
        ],
        &[
            floats("features", &[4, 3, 1, 1], &features),
            floats("offsets", &[4], &[0., 0., 0., large]),
            floats("answers", &[4, 4], &answers),
            floats("bias", &[4], &[0., 0., 0., 3.]),
        ],
        17,
    )
}

/// The images' mean colours by these rows, one number each: of the first, what two colours add is lost where weights are integers.
const ROWS: [[f32; 3]; 2] = [[127.0, 0.3, 0.3], [1.0, -1.0, 0.5]];

/// The same sums in each form that a layer may have.
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    let rows = ROWS.concat();
    let columns: Vec<f32> = (0..3).flat_map(|at| ROWS.map(|row| row[at])).collect();
    let mean = || vec![(Node::new("GlobalAveragePool"), vec!["x"]), (Node::new("Flatten"), vec!["n0"])];
    let behind = |step: Step<'static>, tensors: &[Message]| {
        let mut steps = mean();
        steps.push(step);
        file(steps, tensors, 13)
    };
    let conv = |tensors: &[Message], inputs: Vec<&'static str>| {
        let conv = Node::new("Conv").ints("kernel_shape", &[1, 1]);
        let steps = vec![
            (conv, inputs),
            (Node::new("GlobalAveragePool"), vec!["n0"]),
            (Node::new("Flatten"), vec!["n1"]),
        ];
        file(steps, tensors, 17)
    };
    let bias = floats("b", &[2], &[2.0, -1.0]);
    vec![
        ("conv", conv(&[floats("w", &[2, 3, 1, 1], &rows)], vec!["x", "w"])),
        ("conv with bias", conv(&[floats("w", &[2, 3, 1, 1], &rows), bias.clone()], vec!["x", "w", "b"])),
        (
            "gemm of rows",
            behind(
                (Node::new("Gemm").int("transB", 1), vec!["n1", "w", "b"]),
                &[floats("w", &[2, 3], &rows), bias],
            ),
        ),
        ("gemm of columns", behind((Node::new("Gemm"), vec!["n1", "w"]), &[floats("w", &[3, 2], &columns)])),
        ("matmul", behind((Node::new("MatMul"), vec!["n1", "w"]), &[floats("w", &[3, 2], &columns)])),
    ]
}

fn input() -> Input {
    Input {
        size: 8,
        channels: 3,
        order: Order::Rgb,
        layout: Layout::Nchw,
        fit: Fit::Stretch,
        crop: None,
        interpolation: Interpolation::Bilinear,
        polarity: Polarity::AsIs,
        mean: vec![0.0; 3],
        std: vec![255.0; 3],
    }
}

fn images(count: usize) -> Vec<Pixels> {
    let image = |n: usize| {
        let data = (0..8 * 8 * 3).map(|at| ((at * 31 + n * 67) % 256) as u8).collect();
        Pixels { width: 8, height: 8, channels: 3, data }
    };
    (0..count).map(image).collect()
}

#[test]
fn each_form_of_a_layer_becomes_integers_and_no_output_drifts() {
    let images = images(40);
    let batch: Vec<&Pixels> = images.iter().collect();
    for (form, onnx) in forms() {
        let quantizer = Quantizer::new(form, &onnx).unwrap();
        assert_eq!((quantizer.layers(), quantizer.others()), (1, 0), "{form}");
        let written = |threads| {
            let calibration = quantizer.calibrate(&input(), None, &images, threads, &|_| {}).unwrap();
            quantizer.write(&calibration).unwrap()
        };
        let bytes = written(1);
        assert!(bytes == written(5), "{form}: the bytes hang on the number of threads");
        assert!(model_openvino::onnx::read(&bytes).unwrap().quantised, "{form}");

        let mut f32 = OpenVino::load(form, &onnx, &input(), 2).unwrap();
        let mut int8 = match OpenVino::load(form, &bytes, &input(), 2) {
            Err(error) if !integers_are_exact().unwrap() => {
                assert!(error.to_string().contains(SATURATES), "{error}");
                continue;
            }
            loaded => loaded.unwrap(),
        };
        let (exact, found) = (f32.logits(&batch).unwrap(), int8.logits(&batch).unwrap());
        for output in 0..2 {
            let differences: Vec<f32> =
                exact.iter().zip(&found).map(|(exact, found)| found[output] - exact[output]).collect();
            let mean = differences.iter().sum::<f32>() / 40.0;
            let most = differences.iter().fold(0.0_f32, |most, difference| most.max(difference.abs()));
            let largest = exact.iter().fold(0.0_f32, |largest, exact| largest.max(exact[output].abs()));
            // Without correction the first would be 0.3 too low.
            assert!(
                mean.abs() < 0.05 && most < 0.02 * largest.max(1.0),
                "{form}, {output}: {mean}, {most} of {largest}"
            );
            assert!(most > 0.0, "{form}: nothing was rounded");
        }
    }
}

#[test]
fn what_can_not_be_quantised_is_refused_by_its_sentence() {
    let refused = |onnx: &[u8]| Quantizer::new("net.onnx", onnx).map(drop).unwrap_err().to_string();
    let pool = || vec![(Node::new("GlobalAveragePool"), vec!["x"]), (Node::new("Flatten"), vec!["n0"])];
    assert!(refused(&file(pool(), &[], 17)).contains("no convolution and no product"));
    assert!(
        refused(&file(pool(), &[], 12))
            .contains("version 12 of ONNX's operators (opset), and 13 is the first")
    );
    assert!(refused(b"no net").contains("no ONNX file"));
    let pair = Node::new("DequantizeLinear");
    assert!(refused(&file(vec![(pair, vec!["w", "s", "z"])], &[], 17)).contains("8-bit integers already"));

    // Weights that are computed are left as they are.
    let computed = vec![
        (Node::new("Relu"), vec!["w"]),
        (Node::new("GlobalAveragePool"), vec!["x"]),
        (Node::new("Flatten"), vec!["n1"]),
        (Node::new("MatMul"), vec!["n2", "n0"]),
        (Node::new("MatMul"), vec!["n3", "v"]),
    ];
    let tensors = [floats("w", &[3, 2], &[1.0; 6]), floats("v", &[2, 2], &[1.0; 4])];
    let onnx = file(computed, &tensors, 17);
    let quantizer = Quantizer::new("net.onnx", &onnx).unwrap();
    assert_eq!((quantizer.layers(), quantizer.others()), (1, 1));

    // What is no number has no range.
    let roots = vec![
        (Node::new("Log"), vec!["x"]),
        (Node::new("Conv").ints("kernel_shape", &[1, 1]), vec!["n0", "w"]),
    ];
    let onnx = file(roots, &[floats("w", &[1, 3, 1, 1], &[1.0; 3])], 17);
    let quantizer = Quantizer::new("net.onnx", &onnx).unwrap();
    let error =
        quantizer.calibrate(&input(), None, &[Pixels::black(8, 3)], 1, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("\"n0\" holds something that is no number"), "{error}");
}
