"""Where a reader of ours may differ from Python's, each with the reason. Anything else is a fault of one of them.

STRICTER: messages of ours (regular expressions) for what the other reader takes.
LAXER: messages of the other reader for what ours takes."""

NOT_OURS = "no writer of checkpoints writes it, and every form that is read is one more to attack"
AMBIGUOUS = "two readers could understand it differently"
BOUNDED = "a limit of docs/formats.md, far above what writers need"

STRICTER = {
    "safetensors": {
        r"the header does not start with": "the format asks for it (safetensors' README); the reference skips white space",
        r"duplicate key": AMBIGUOUS + " (the reference keeps the last)",
        r"unknown key": NOT_OURS,
        r"an array|__metadata__ is null": NOT_OURS + " (serde takes an array for a struct, and null for no metadata)",
        r"dtype \w+ is not supported": "no checkpoint that is converted has such elements",
        r"has more than 64 numbers|a tensor name of \d+ bytes": BOUNDED,
        r"is out of range|is not an integer in range|overflows 64 bits": BOUNDED + "; sizes are 63 bits",
        r"JSON is nested more than": BOUNDED,
    },
    "zip": {
        r"no zip end record at the end|does not end at the end record": AMBIGUOUS + ": bytes before or after the archive, a comment",
        r"zip64 locator does not point|bad zip64 end record|zip end record and zip64 end record differ|more than one disk|lies on another disk": AMBIGUOUS,
        r"local header (has|says)|no local header|data descriptor does not agree|reaches to|zip entries overlap|two zip entries": AMBIGUOUS
        + ": Python reads the directory alone",
        r"stored size \d+ is not its size|zip directory is longer than its entries|bad entry in the zip directory": AMBIGUOUS,
        r"zip extra field is cut short|two zip64 fields|lacks an escaped size": AMBIGUOUS,
        r"compressed \(method": "torch.save stores; nothing is inflated, so that nothing small becomes large",
        r"flags 0x": NOT_OURS,
        r"not PREFIX/NAME|prefix differs|archive without entries": "torch.save puts all records below one name",
        r"at most \d+ (and \d+ )?are read": BOUNDED,
        r"is out of range|overflows 64 bits": BOUNDED + "; sizes are 63 bits",
    },
    "pickle": {
        r"protocol 0 and 1 pickles|not a pickle of protocol 2|protocol \d+ is not read": NOT_OURS,
        r"Python 2 instances|extension registry codes|out-of-band buffers": NOT_OURS,
        r"protocol given twice|bytes after the end|values are left instead of one": AMBIGUOUS + ": CPython stops at the first STOP",
        r"memo slot \d+ is (out of order|not set)": "picklers number their slots in order; a slot that is set anyhow may be set twice",
        r"nested deeper than|an integer of \d+ bytes|more than \d+ values|the name is too long": BOUNDED,
        r"is not a class|are not a tuple|are not a dict": "CPython calls whatever can be called, with any iterable",
        r"is not an object|has a state already|cannot add items to this object": "CPython sets whatever has a __dict__, as often as asked",
        r"already part of another one": "it may become a cycle, which no pickler of checkpoints writes",
        r"not a (list|set|dict)\b|a list or dict as key": "CPython asks only for a method of that name",
        r"is no class name": NOT_OURS,
    },
}
LAXER = {
    "safetensors": {},
    "zip": {
        r"without CRCs: BadZipFile: Bad CRC-32": "torch.save with its CRC option off writes 0; readers of ours say that nothing could be checked",
        r"NotImplementedError: zip file version": "the version that an unpacker needs says nothing about a stored entry",
    },
    "pickle": {
        r"frame": "FRAME tells a reader how much to read at once; ours reads on",
        r"unhashable type": "nothing is hashed: a key is data like any other, and who reads the value asks for its kind",
        r"keywords must be strings": "nothing is called",
        r"'frozenset' object has no attribute 'add'": "both kinds of set are one",
    },
}
