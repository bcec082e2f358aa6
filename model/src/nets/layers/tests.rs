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
fn one_call_gives_what_convolution_activation_and_sum_give() {
    tch::manual_seed(7);
    let depthwise =
        ConvBnConfig { kernel: [3, 3], padding: Padding::Zeros([1, 1]), groups: 24, ..Default::default() };
    let wide = ConvBnConfig { kernel: [1, 7], padding: Padding::Zeros([0, 3]), ..Default::default() };
    let strided =
        ConvBnConfig { kernel: [3, 3], stride: 2, padding: Padding::Zeros([1, 1]), ..Default::default() };
    for config in [ConvBnConfig::default(), depthwise, wide, strided] {
        for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
            let store = VarStore::new(Device::Cpu);
            let root = store.root();
            let config = ConvBnConfig { activation, ..config };
            let mut layer = conv_bn(&(&root / "conv"), &(&root / "bn"), 24, 24, config);
            stir(&store);
            let one_by_one = layer.clone();
            layer.fuse().unwrap();
            assert!(layer.fused.is_some(), "this libtorch has oneDNN");
            // Of other sizes than the first one, for which weights are laid out.
            for (images, rows) in [(2, 9), (1, 9), (17, 30)] {
                let images =
                    channels_last(&Tensor::randn([images, 24, rows, 9], tch::kind::FLOAT_CPU)).unwrap();
                let expected = one_by_one.forward_t(&images, false).unwrap();
                let found = layer.forward_t(&images, false).unwrap();
                assert!(greatest_difference(&found, &expected) < 1e-5, "{config:?}");

                let onto = channels_last(&Tensor::randn(expected.size(), tch::kind::FLOAT_CPU)).unwrap();
                let expected = &expected + &onto;
                let found = layer.forward_onto(&images, &onto, false).unwrap();
                assert!(greatest_difference(&found, &expected) < 1e-5, "{config:?} and a sum");
            }
        }
    }
}
