"""The lecture "Aula 9 - Redes Neurais - Treinamento", executable: each equation, figure and exercise gets a verdict."""
