use super::*;
use tch::Device;
use tch::nn::VarStore;

fn greatest_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// Batch normalisation that does something: random scale, shift and statistics.
fn stir(store: &VarStore) {
    for (name, mut variable) in store.variables() {
        let least = if name.ends_with("running_var") { 0.5 } else { -0.5 };
        drop(tch::no_grad(|| variable.uniform_(least, least + 1.0)));
    }
}

#[test]
fn a_fused_convolution_gives_the_same_and_with_same_padding_the_same_turned() {
    tch::manual_seed(7);
    for (kernel, stride, size) in [(3, 1, 8), (3, 2, 8), (3, 2, 9), (5, 2, 8), (5, 2, 9), (1, 1, 6)] {
        for padding in [Padding::Same, Padding::Zeros([kernel / 2, kernel / 2])] {
            let store = VarStore::new(Device::Cpu);
            let root = store.root();
            let kernel = [kernel, kernel];
            let activation = Activation::Relu6;
            let config = ConvBnConfig { kernel, stride, padding, activation, ..Default::default() };
            let mut layer = conv_bn(&(&root / "conv"), &(&root / "bn"), 4, 6, config);
            stir(&store);
            let images = Tensor::randn([2, 4, size, size], tch::kind::FLOAT_CPU);
            let turn = |xs: &Tensor| match padding {
                Padding::Same => xs.flip([2, 3]),
                Padding::Zeros(_) => xs.shallow_clone(),
            };

            let plain = layer.forward_t(&images, false).unwrap();
            assert_eq!(plain.size()[2], (size + stride - 1) / stride);
            layer.fuse().unwrap();
            let fused = layer.forward_t(&channels_last(&turn(&images)).unwrap(), false).unwrap();
            let difference = greatest_difference(&turn(&fused), &plain);
            assert!(difference < 1e-5, "{config:?} at {size}: {difference}");
            // Fusing twice changes nothing more.
            layer.fuse().unwrap();
            let again = layer.forward_t(&turn(&images), false).unwrap();
            assert!(greatest_difference(&again, &fused) < 1e-5);
        }
    }
}

#[test]
fn a_fused_linear_layer_gives_the_same() {
    tch::manual_seed(7);
    let store = VarStore::new(Device::Cpu);
    let root = store.root();
    let mut layer = linear_bn(&(&root / "fc"), &(&root / "bn"), 5, 3, Activation::Identity);
    stir(&store);
    let xs = Tensor::randn([4, 5], tch::kind::FLOAT_CPU);
    let plain = layer.forward_t(&xs, false).unwrap();
    layer.fuse().unwrap();
    assert!(greatest_difference(&layer.forward_t(&xs, false).unwrap(), &plain) < 1e-5);
}

#[test]
fn a_fused_1_x_1_convolution_calls_onednn_and_gives_what_conv2d_gives() {
    tch::manual_seed(7);
    let store = VarStore::new(Device::Cpu);
    let root = store.root();
    let config = ConvBnConfig { activation: Activation::Identity, ..Default::default() };
    let mut layer = conv_bn(&(&root / "conv"), &(&root / "bn"), 24, 40, config);
    stir(&store);
    assert!(!layer.onednn, "training needs what conv2d keeps for the way back");
    layer.fuse().unwrap();
    assert!(layer.onednn);
    // One image, a micro-batch, and more than libtorch's own threshold; of too few pixels for oneDNN, and of enough.
    for (images, rows) in [(1, 7), (1, 70), (4, 70), (17, 7)] {
        let images = channels_last(&Tensor::randn([images, 24, rows, 9], tch::kind::FLOAT_CPU)).unwrap();
        let bias = layer.norm.bias();
        let expected = images.f_conv2d(&layer.weight, bias, [1, 1], [0, 0], [1, 1], 1).unwrap();
        let found = layer.forward_t(&images, false).unwrap();
        let difference = greatest_difference(&found, &expected);
        assert!(difference < 1e-6 * expected.abs().max().double_value(&[]).max(1.0), "{difference}");
    }

    let config = ConvBnConfig { kernel: [3, 3], padding: Padding::Zeros([1, 1]), ..config };
    let mut wider = conv_bn(&(&root / "conv3"), &(&root / "bn3"), 24, 40, config);
    wider.fuse().unwrap();
    assert!(!wider.onednn);
}
