//! The same objects in the words of Google Cloud Storage (XML) and Azure Blob Storage.

use std::fmt::Write;
use std::sync::LazyLock;

use crate::size;

/// Which of the two asks.
#[derive(Clone, Copy)]
pub(crate) enum Cloud {
    Gcs,
    Azure,
}

/// What is said of a request; `object_bytes` of filler in the place of a document.
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) headers: &'static str,
    pub(crate) document: &'static str,
    pub(crate) object_bytes: Option<usize>,
}

const GCS_OBJECT: &str = "Content-Type: application/octet-stream\r\nETag: \"0123456789abcdef0123456789abcdef\"\r\n\
     x-goog-generation: 1767225600000000\r\nx-goog-metageneration: 1\r\nx-goog-storage-class: STANDARD\r\n\
     Accept-Ranges: bytes\r\n";
const GCS_DOCUMENT: &str = "Content-Type: application/xml\r\n";
const GCS_UPLOAD: &str = "<InitiateMultipartUploadResult><Bucket>bench</Bucket><Key>put</Key>\
     <UploadId>ABPnzm4</UploadId></InitiateMultipartUploadResult>";

/// The MD5 of the objects' `ETag` elsewhere, as Azure tells it.
const AZURE_OBJECT: &str = "Content-Type: application/octet-stream\r\nETag: \"0x8DE48F3A0000000\"\r\n\
     Content-MD5: ASNFZ4mrze8BI0VniavN7w==\r\nx-ms-blob-type: BlockBlob\r\nx-ms-access-tier: Hot\r\n\
     x-ms-version: 2026-02-06\r\nAccept-Ranges: bytes\r\n";
const AZURE_STORED: &str = "ETag: \"0x8DE48F3A0000000\"\r\nx-ms-version: 2026-02-06\r\n";
const AZURE_DOCUMENT: &str = "Content-Type: application/xml\r\nx-ms-version: 2026-02-06\r\n";
const AZURE_CONTAINER: &str = "ETag: \"0x8DE48F3A0000000\"\r\nx-ms-version: 2026-02-06\r\n";

const AZURE_CONTAINERS: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults \
     ServiceEndpoint=\"http://127.0.0.1/\"><Containers><Container><Name>bench-azure</Name><Properties>\
     <Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Etag>\"0x8DE48F3A0000000\"</Etag></Properties>\
     </Container></Containers><NextMarker /></EnumerationResults>";

const FEW: [&str; 4] = ["1KiB", "64KiB", "1MiB", "64MiB"];

pub(crate) static THOUSAND_OF_S3: LazyLock<String> = LazyLock::new(|| contents(thousand()));
static FEW_OF_S3: LazyLock<String> = LazyLock::new(|| contents(few()));
static THOUSAND_BLOBS: LazyLock<String> = LazyLock::new(|| blobs(thousand()));
static FEW_BLOBS: LazyLock<String> = LazyLock::new(|| blobs(few()));

/// Tools ask for as many at once, but with a delimiter.
pub(crate) fn wants_thousand(target: &str) -> bool {
    let many = ["max-keys=1000", "maxresults=1000"]
        .iter()
        .any(|word| target.contains(word));
    many && !target.contains("delimiter=")
}

impl Cloud {
    /// By the head of a request; `None` where it is S3's or no store's.
    pub(crate) fn of(head: &str) -> Option<Self> {
        let head = head.to_ascii_lowercase();
        if head.contains("\r\nx-ms-version:") {
            Some(Self::Azure)
        } else if head.contains("\r\nx-goog-") {
            Some(Self::Gcs)
        } else {
            None
        }
    }

    pub(crate) fn answer(self, method: &str, target: &str) -> Answer {
        let lists = target.contains("comp=list&")
            || target.ends_with("comp=list")
            || target.contains("list-type=");
        let all = wants_thousand(target);
        match (self, method) {
            (Self::Gcs, "GET") if lists && all => document(GCS_DOCUMENT, &THOUSAND_OF_S3),
            (Self::Gcs, "GET") if lists => document(GCS_DOCUMENT, &FEW_OF_S3),
            (Self::Gcs, "POST") => document(GCS_DOCUMENT, GCS_UPLOAD),
            (Self::Gcs, "GET" | "HEAD") => object(GCS_OBJECT, target),
            // Uploads are answered by the caller.
            (Self::Gcs, _) => said("204 No Content", GCS_DOCUMENT),
            (Self::Azure, "GET") if lists && !target.contains("restype=container") => {
                document(AZURE_DOCUMENT, AZURE_CONTAINERS)
            }
            (Self::Azure, "GET") if lists && all => document(AZURE_DOCUMENT, &THOUSAND_BLOBS),
            (Self::Azure, "GET") if lists => document(AZURE_DOCUMENT, &FEW_BLOBS),
            (Self::Azure, "GET" | "HEAD") if target.contains("restype=container") => {
                said("200 OK", AZURE_CONTAINER)
            }
            (Self::Azure, "GET" | "HEAD") => object(AZURE_OBJECT, target),
            (Self::Azure, "DELETE") => said("202 Accepted", AZURE_STORED),
            (Self::Azure, _) => said("201 Created", AZURE_STORED),
        }
    }
}

fn said(status: &'static str, headers: &'static str) -> Answer {
    Answer {
        status,
        headers,
        document: "",
        object_bytes: None,
    }
}

fn document(headers: &'static str, document: &'static str) -> Answer {
    Answer {
        document,
        ..said("200 OK", headers)
    }
}

fn object(headers: &'static str, target: &str) -> Answer {
    Answer {
        object_bytes: Some(size(target)),
        ..said("200 OK", headers)
    }
}

fn few() -> impl Iterator<Item = (String, usize)> {
    FEW.iter().map(|name| ((*name).to_owned(), size(name)))
}

fn thousand() -> impl Iterator<Item = (String, usize)> {
    (0..1000).map(|n| (format!("logs/2026/01/01/host-{n:04}.json.gz"), 4096 + n))
}

fn contents(entries: impl Iterator<Item = (String, usize)>) -> String {
    let mut all = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>bench</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>",
    );
    for (key, size) in entries {
        // Writing to a String does not fail.
        let _ = write!(
            all,
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
             <ETag>\"0123456789abcdef0123456789abcdef\"</ETag><Size>{size}</Size>\
             <StorageClass>STANDARD</StorageClass></Contents>"
        );
    }
    all + "</ListBucketResult>"
}

fn blobs(entries: impl Iterator<Item = (String, usize)>) -> String {
    let mut all = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"http://127.0.0.1/\" \
         ContainerName=\"bench\"><MaxResults>1000</MaxResults><Blobs>",
    );
    for (key, size) in entries {
        let _ = write!(
            all,
            "<Blob><Name>{key}</Name><Properties><Creation-Time>Thu, 01 Jan 2026 00:00:00 GMT</Creation-Time>\
             <Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Etag>0x8DE48F3A0000000</Etag>\
             <Content-Length>{size}</Content-Length><Content-Type>application/octet-stream</Content-Type>\
             <Content-Encoding /><Content-Language /><Content-CRC64 />\
             <Content-MD5>ASNFZ4mrze8BI0VniavN7w==</Content-MD5><Cache-Control /><Content-Disposition />\
             <BlobType>BlockBlob</BlobType><AccessTier>Hot</AccessTier><AccessTierInferred>true</AccessTierInferred>\
             <LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>\
             <ServerEncrypted>true</ServerEncrypted></Properties><OrMetadata /></Blob>"
        );
    }
    all + "</Blobs><NextMarker /></EnumerationResults>"
}
