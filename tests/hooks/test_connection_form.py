"""The form's code costs nothing unless it is used; its content is tested with the provider's metadata."""

from __future__ import annotations

import ast
import inspect

from airflow_provider_mqs.hooks import connection_form as form


def test_module_imports_no_form_library() -> None:
    """Neither wtforms nor the FAB provider need be installed to use the hook."""
    imported = {
        name
        for node in ast.walk(ast.parse(inspect.getsource(form)))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not any(name.startswith(("wtforms", "flask")) for name in imported)
