//! The sizes of an object's parts, as they are kept beside it by stores that forget them: `8388608*12,17`.

/// Most parts that are read. Stops an entry of a few bytes from becoming a list without end.
const PARTS_MAX: usize = 10_000;

/// Equal ones that follow each other are counted.
pub fn write(sizes: &[u64]) -> String {
    let runs = sizes.chunk_by(|left, right| left == right);
    let runs = runs.filter_map(|run| {
        let one = run.first()?;
        Some(match run.len() {
            1 => one.to_string(),
            count => format!("{one}*{count}"),
        })
    });
    runs.collect::<Vec<_>>().join(",")
}

/// `None` where they do not make up an object of this size: whoever changed its bytes need not have known of our entry.
pub fn read(text: &str, size: u64) -> Option<Vec<u64>> {
    let mut sizes = Vec::new();
    for run in text.split(',') {
        let (one, count) = run.split_once('*').unwrap_or((run, "1"));
        let (one, count): (u64, usize) = (one.parse().ok()?, count.parse().ok()?);
        if count > PARTS_MAX - sizes.len() {
            return None;
        }
        sizes.extend(std::iter::repeat_n(one, count));
    }
    let sum = sizes
        .iter()
        .try_fold(0u64, |sum, one| sum.checked_add(*one));
    (sum == Some(size)).then_some(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_back_as_they_were_written() {
        for (sizes, text) in [
            (&[5][..], "5"),
            (&[8, 8, 8, 3], "8*3,3"),
            (&[1, 2, 2, 1], "1,2*2,1"),
        ] {
            let sum = sizes.iter().sum();
            assert_eq!(write(sizes), text);
            assert_eq!(read(text, sum).as_deref(), Some(sizes));
            assert_eq!(read(text, sum + 1), None);
        }
    }

    #[test]
    fn what_no_object_is_made_of_is_not_read() {
        for text in [
            "",
            "x",
            "1*",
            "1*10001",
            "1*9999,1*2",
            "18446744073709551615,1",
        ] {
            assert_eq!(read(text, 0), None, "{text}");
        }
    }
}
