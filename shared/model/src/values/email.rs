//! E-mail addresses: which are accepted, and how they are stored.

use std::fmt;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

use super::InvalidValue;

/// The most that SMTP accepts (RFC 5321, 4.5.3.1.3, without the brackets).
const MAX_BYTES: usize = 254;

/// An e-mail address in lower case. It never leaves the credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        let email = as_stored(raw);
        if email.is_empty() {
            return Err(InvalidValue::Empty);
        }
        if email.len() > MAX_BYTES {
            return Err(InvalidValue::TooLong {
                max: MAX_BYTES,
                actual: email.len(),
                unit: "bytes",
            });
        }
        let malformed = InvalidValue::Malformed("must be an e-mail address such as name@example.org");
        let Some((local, domain)) = email.rsplit_once('@') else {
            return Err(malformed);
        };
        let local_is_fine = !local.is_empty()
            && local.len() <= 64
            && !local.contains(|c: char| c.is_whitespace() || c.is_control() || "@<>()[],;:\\\"".contains(c));
        if local_is_fine && is_domain_of_the_internet(domain) {
            Ok(Self(email))
        } else {
            Err(malformed)
        }
    }

    /// An address in the form in which it is stored, to find its user. [`Email::parse`] may refuse it: it may have been accepted when the
    /// rules were different. But no address was ever longer than addresses may be now, so `None` means that it belongs to nobody.
    pub fn to_look_up(raw: &str) -> Option<Self> {
        let email = as_stored(raw);
        (email.len() <= MAX_BYTES).then_some(Self(email))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn as_stored(raw: &str) -> String {
    raw.trim().nfc().collect::<String>().to_lowercase()
}

/// A domain name of at least two labels that the DNS could hold, by UTS #46. It is stored as it was written. So that one address has few
/// spellings, a name outside ASCII must be written in its mapped form, for example not in full-width letters.
fn is_domain_of_the_internet(domain: &str) -> bool {
    let uts46 = Uts46::new();
    let (deny, hyphens) = (AsciiDenyList::STD3, Hyphens::CheckFirstLast);
    domain.contains('.')
        && uts46
            .to_ascii(domain.as_bytes(), deny, hyphens, DnsLength::Verify)
            .is_ok()
        && (domain.is_ascii() || uts46.to_unicode(domain.as_bytes(), deny, hyphens).0 == domain)
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails() {
        for (written, stored) in [
            (" Ada@Example.ORG ", "ada@example.org"),
            ("सम्पर्क@हिन्दी.भारत", "सम्पर्क@हिन्दी.भारत"),
            ("Info@Singapore.சிங்கப்பூர்", "info@singapore.சிங்கப்பூர்"),
            ("用户@例え.テスト", "用户@例え.テスト"),
            ("ada@STRASSE-straße.de", "ada@strasse-straße.de"),
            ("ada@xn--strae-oqa.de", "ada@xn--strae-oqa.de"),
            ("ada+tag.o'hara@r3---x.example.org", "ada+tag.o'hara@r3---x.example.org"),
            // The standard does not allow this, but a large Japanese provider does.
            ("a..b.@example.org", "a..b.@example.org"),
        ] {
            assert_eq!(Email::parse(written).unwrap().as_str(), stored);
        }
        let long = |label: usize| format!("ada@{}.org", "a".repeat(label));
        assert!(Email::parse(&long(63)).is_ok());
        for bad in [
            "",
            "ada",
            "ada@",
            "@example.org",
            "a b@example.org",
            "ada@example",
            "ada@-x.org",
            "ada@x-.org",
            "a@b..c",
            "ada@example.org.",
            "ada@a_b.org",
            "ada@exa!mple.org",
            "ada@☃.\u{301}org",
            "ada@exa\u{200B}mple.org",
            "ada@ｅｘａｍｐｌｅ.org",
            "ada@xn--a.org",
            "ada@[127.0.0.1]",
            "\"ada\"@example.org",
            "\"a b\"@example.org",
            "Ada <ada@example.org>",
            "ada@example.org(work)",
            &long(64),
        ] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Email::to_look_up(" Ada@ｘ.org").unwrap().as_str(), "ada@ｘ.org");
        assert_eq!(Email::to_look_up(&"a".repeat(255)), None);
    }
}
