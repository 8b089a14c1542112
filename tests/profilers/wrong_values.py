"""A real file that a real runtime computes wrong."""

from __future__ import annotations

from pathlib import Path


def hide_new_operators(path: Path) -> Path:
    """Let an int8 .tflite file of ours claim the operator versions of tflite-runtime 2.14, as other quantisers do.

    That runtime then loads it and takes the first channel's scale for all: no error, wrong values. LiteRT computes the
    same file right.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for code in model.operatorCodes:
        code.version = min(code.version, 9)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
