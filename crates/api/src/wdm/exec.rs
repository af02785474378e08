//! How the output of a program run in an instance travels: frames of one kind byte, four length bytes (big endian) and
//! the content. The input travels as it is.

/// One piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecFrame {
    /// It wrote to its standard output.
    Stdout(Vec<u8>),
    /// It wrote to its standard error.
    Stderr(Vec<u8>),
    /// It ended; a signal counts as 128 plus its number.
    Exit(i32),
}

/// Bytes before the content.
const HEADER: usize = 5;
/// The largest content that is taken.
const CONTENT_MAX: usize = 1 << 20;

impl ExecFrame {
    /// The frame as it travels.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::Stdout(content) => (1, content.clone()),
            Self::Stderr(content) => (2, content.clone()),
            Self::Exit(code) => (3, code.to_be_bytes().to_vec()),
        };
        let length = u32::try_from(content.len()).expect("output comes in pieces that fit");
        let mut frame = vec![kind];
        frame.extend(length.to_be_bytes());
        frame.extend(content);
        frame
    }

    /// Takes the first whole frame off `buffer`; `None` if more bytes are needed.
    pub fn decode(buffer: &mut Vec<u8>) -> Result<Option<Self>, String> {
        let Some(header) = buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [kind, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if length > CONTENT_MAX {
            return Err(format!(
                "a piece of output has {length} bytes; at most {CONTENT_MAX} are taken"
            ));
        }
        if buffer.len() < HEADER + length {
            return Ok(None);
        }
        let content: Vec<u8> = buffer.drain(..HEADER + length).skip(HEADER).collect();
        match kind {
            1 => Ok(Some(Self::Stdout(content))),
            2 => Ok(Some(Self::Stderr(content))),
            3 => {
                let code = content
                    .try_into()
                    .map_err(|_| "an exit status has four bytes".to_owned())?;
                Ok(Some(Self::Exit(i32::from_be_bytes(code))))
            }
            kind => Err(format!("a piece of output is of unknown kind {kind}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let frames = [
            ExecFrame::Stdout(b"out".to_vec()),
            ExecFrame::Stderr(Vec::new()),
            ExecFrame::Exit(-1),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(ExecFrame::encode).collect();
        let (mut buffer, mut read) = (Vec::new(), Vec::new());
        for byte in bytes {
            buffer.push(byte);
            while let Some(frame) = ExecFrame::decode(&mut buffer).expect("it is sound") {
                read.push(frame);
            }
        }
        assert_eq!(read, frames);
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert!(ExecFrame::decode(&mut vec![9, 0, 0, 0, 0]).is_err());
        assert!(ExecFrame::decode(&mut vec![1, 0xff, 0, 0, 0]).is_err());
    }
}
