"""`.metadata` of torch.distributed.checkpoint without torch: read into stand-ins, changed, written again.

A class is a stand-in of the same module and name; an instance remembers how it was made (called, or by __new__) and its state,
so that what is written is what torch would have written for the changed object.
"""
import copyreg
import pickle

METADATA = "torch.distributed.checkpoint.metadata"


class Class(type):
    def __call__(cls, *arguments):
        made = cls.__new__(cls, *arguments)
        made.called = True
        return made


class Instance(metaclass=Class):
    def __new__(cls, *arguments):
        made = object.__new__(cls)
        made.arguments, made.called, made.state = arguments, False, None
        return made

    def __setstate__(self, state):
        self.state = state

    def __reduce_ex__(self, protocol):
        how = (type(self), self.arguments) if self.called else (copyreg.__newobj__, (type(self), *self.arguments))
        return how if self.state is None else (*how, self.state)

    def __getitem__(self, field):
        return self.state[field]

    def __setitem__(self, field, value):
        self.state[field] = value


_classes = {}


def stand_in(module, name):
    return _classes.setdefault((module, name), Class(name, (Instance,), {"path": (module, name)}))


class _Reader(pickle.Unpickler):
    def find_class(self, module, name):
        return stand_in(module, name)


class _Writer(pickle._Pickler):  # the one in Python: the other insists on importing what it names
    def save_global(self, obj, name=None):
        for text in obj.path:
            self.save(text)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)


def load(path):
    with open(path, "rb") as file:
        return _Reader(file).load()


def dump(value, path):
    with open(path, "wb") as file:
        _Writer(file, protocol=4).dump(value)


def new(module, name, state):
    made = stand_in(module, name).__new__(stand_in(module, name))
    made.state = state
    return made


def size(*numbers):
    return stand_in("torch", "Size")(tuple(numbers))


def numbers_of(size):
    return tuple(size.arguments[0])


def dtype(name):
    return stand_in("torch", name)


class Metadata:
    """The two dictionaries of a `.metadata`: what there is, and where it lies."""

    def __init__(self, path):
        self.path = path
        self.root = load(path)
        self.entries = self.root["state_dict_metadata"]
        self.storage = self.root["storage_data"]

    def save(self):
        dump(self.root, self.path)

    def tensors(self):
        return sorted(key for key, entry in self.entries.items() if type(entry).__name__ == "TensorStorageMetadata")

    def places(self, key):
        """[(MetadataIndex, _StorageInfo)] of a tensor, by offset."""
        found = [(index, place) for index, place in self.storage.items() if index["fqn"] == key]
        return sorted(found, key=lambda item: () if item[0]["offset"] is None else numbers_of(item[0]["offset"]))

    def remove(self, key):
        del self.entries[key]
        for index, _ in self.places(key):
            del self.storage[index]

    def copy(self, key, name):
        """A second tensor of the same content under another name."""
        self.entries[name] = self.entries[key]
        for index, place in self.places(key):
            self.storage[new(METADATA, "MetadataIndex", {**index.state, "fqn": name})] = place

    def retype(self, key, name):
        properties = self.entries[key]["properties"]
        self.entries[key]["properties"] = made = new(METADATA, "TensorProperties", None)
        made.state = (dtype(name), *properties.state[1:]) if isinstance(properties.state, tuple) else {**properties.state, "dtype": dtype(name)}
