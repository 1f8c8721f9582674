"""What hooks cachee into the libraries an application already uses; one package each."""

__all__: list[str] = []
