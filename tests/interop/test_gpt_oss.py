"""gpt-oss in megatron-core's local specification, whose attention has sinks and windows of its own."""
from interop import cases
from oracles import dcp, mapping, sharding


def test_megatron_computes_the_same(sources, converted, pools):
    """Every tensor is where an independent mapping has it, a default-strict load takes it, and the logits are transformers'."""
    source = sources("gpt_oss")
    arch, iteration = source.arch, converted("gpt_oss", "local") / "iter_0000000"
    parameters = mapping.to_megatron(arch, source.state)
    assert not dcp.different(sharding.dist_keys(arch, parameters, "local"), dcp.read_tensors(iteration))
    ids = cases.tokens(arch)
    ((values, logits),) = pools["local"].run("load_and_run", arch=arch, directory=str(iteration), tokens=ids)
    assert not dcp.different({key: tensor.float() for key, tensor in parameters.items()}, values)
    cases.close(logits, source.logits(ids))
