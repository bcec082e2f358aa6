//! Where a net computes: chosen by the user, never changed behind their back.

use std::fmt;
use std::str::FromStr;

use crate::ModelError;

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// The first CUDA device; an error where there is none.
    Cuda,
    /// The first CUDA device where there is one, else the processor.
    Auto,
}

/// Where a net computes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The first CUDA device.
    Cuda,
}

impl DeviceChoice {
    /// The device that this choice means on this machine.
    ///
    /// # Errors
    /// If CUDA is asked for and there is none.
    pub fn resolve(self) -> Result<Device, ModelError> {
        match (self, tch::Cuda::is_available()) {
            (Self::Cpu, _) | (Self::Auto, false) => Ok(Device::Cpu),
            (Self::Cuda | Self::Auto, true) => Ok(Device::Cuda),
            (Self::Cuda, false) => Err(ModelError::NoCuda),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            "auto" => Ok(Self::Auto),
            _ => Err(ModelError::UnknownDevice { text: text.into() }),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Auto => "auto",
        })
    }
}

impl From<Device> for tch::Device {
    fn from(device: Device) -> Self {
        match device {
            Device::Cpu => Self::Cpu,
            Device::Cuda => Self::Cuda(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back() {
        for choice in [DeviceChoice::Cpu, DeviceChoice::Cuda, DeviceChoice::Auto] {
            assert_eq!(choice.to_string().parse::<DeviceChoice>().unwrap(), choice);
        }
        assert!("gpu".parse::<DeviceChoice>().is_err());
    }

    #[test]
    fn cuda_is_given_or_refused_but_never_replaced() {
        let resolved = DeviceChoice::Cuda.resolve();
        if tch::Cuda::is_available() {
            assert_eq!(resolved.unwrap(), Device::Cuda);
        } else {
            assert!(matches!(resolved, Err(ModelError::NoCuda)));
            assert_eq!(DeviceChoice::Auto.resolve().unwrap(), Device::Cpu);
        }
    }
}
